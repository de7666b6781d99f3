import { settingsTable } from '#protocol';
import {
  followingSteps,
  isComputed,
  resolveSettings,
  settingsToChoose,
  settingsViolations,
  withGroupGates,
  type RequestedSettings,
} from './run-settings.js';
import { scheduledSparsity, loraLearningRate } from './sparsity-schedule.js';
import type { RunSettings } from '../record/pruning-run.events.js';

describe('settings', () => {
  it('of a run with a time lack its steps until they are chosen, but for the one step of a recipe that prunes at once', () => {
    const chosenLater = (requested: RequestedSettings) => settingsToChoose(resolveSettings(requested), followingSteps(requested));
    expect(chosenLater({ time: 60, warmupSteps: 3 })).toEqual(expect.arrayContaining(['totalSteps', 'recoverSteps', 'evaluationTokens']));
    expect(chosenLater({ time: 60, warmupSteps: 3 })).not.toContain('warmupSteps');
    expect(chosenLater({ time: 60, preset: 'fisher' })).not.toContain('totalSteps');
    expect(settingsToChoose(resolveSettings({}), undefined)).toEqual([]);
  });
  it('take the preset where nothing is said', () => {
    expect(resolveSettings({})).toEqual(resolveSettings({ preset: 'nuteprune2' }));
    expect(resolveSettings({ preset: 'short' })).toMatchObject({
      preset: 'short',
      totalSteps: 1400,
      warmupSteps: 420,
      batchSize: 8,
      sequenceLength: 128,
      loraRank: 64,
      maskNoise: 1,
      loraAlpha: 8,
      loraLearningRate: 1e-2,
      temperature: 1,
      maskLearningRate: 0.1,
      lambdaLearningRate: 0.02,
      sparsityControl: 'tracking',
      targetSparsity: 0.5,
      recipe: 'nuteprune',
    });
    expect(resolveSettings({ preset: 'paper' })).toMatchObject({
      batchSize: 16,
      sequenceLength: 512,
      warmupSteps: 1250,
      loraRank: 8,
      loraLearningRate: 1e-3,
      temperature: 2 / 3,
      lambdaLearningRate: 0.1,
      maskLearningRate: 0.1,
      sparsityControl: 'multipliers',
    });
    expect(resolveSettings({ preset: 'paper', targetSparsity: 0.2 }).warmupSteps).toBe(5000);
    expect(resolveSettings({ totalSteps: 100, targetSparsity: undefined }).warmupSteps).toBe(30);
  });
  it('of the preset nuteprune2 prune early and recover with all weights; one that does not recover needs no word about weights', () => {
    const settings = resolveSettings({ preset: 'nuteprune2' });
    expect(settings).toMatchObject({
      totalSteps: 600,
      warmupSteps: 180,
      batchSize: 4,
      loraRank: 32,
      maskNoise: 0.3,
      recoverSteps: 4800,
      recoverWarmupSteps: 240,
      recoverLearningRate: 1e-3,
      recoverWeights: 'all',
    });
    expect(resolveSettings({ totalSteps: 31 }).recoverSteps).toBe(248);
    expect(resolveSettings({ recipe: 'wanda' })).toMatchObject({ recoverSteps: 0, recoverWeights: 'lora' });
    expect(resolveSettings({ recipe: 'wanda', recoverSteps: 50 })).toMatchObject({ recoverSteps: 50, recoverWeights: 'all' });
    expect(resolveSettings({ recoverLoraRank: 8 }).recoverWeights).toBe('lora');
    expect(settings).toMatchObject({
      recipe: 'distill',
      recoverKlLossWeight: 1,
      recoverLmLossWeight: 0,
      recoverLayerLossWeight: 0.1,
      targetSparsity: 0.5,
    });
    const pruned = resolveSettings({ preset: 'nuteprune2', recoverSteps: 0 });
    expect(pruned.recoverWeights).toBe('lora');
    for (const one of [settings, pruned]) expect(settingsViolations(one)).toEqual([]);
    expect(settingsViolations(resolveSettings({ recoverSteps: 0, recoverWeights: 'all' }))).toEqual([
      expect.objectContaining({ field: 'settings.recover_weights' }),
    ]);
  });
  it('have noise of the masks that follows from the target, between two that were tried; other presets have all of it', () => {
    const noiseAt = (targetSparsity: number) => resolveSettings({ targetSparsity }).maskNoise;
    expect([0, 0.2, 0.35, 0.5, 0.9].map(noiseAt)).toEqual([0.5, 0.5, 0.39, 0.3, 0.3]);
    expect(resolveSettings({ preset: 'paper' }).maskNoise).toBe(1);
    expect(resolveSettings({ maskNoise: 0.7 }).maskNoise).toBe(0.7);
  });
  it('recover all weights at a rate that follows from the target, between two that were tried', () => {
    const rateAt = (settings: RequestedSettings): number => resolveSettings(settings).recoverLearningRate;
    const targets = [0, 0.2, 0.3, 0.4, 0.5, 0.9];
    const ratesAt = (settings: RequestedSettings) => targets.map((targetSparsity) => rateAt({ targetSparsity, ...settings }));
    expect(ratesAt({})).toEqual([0.00043, 0.00043, 0.00057, 0.00075, 0.001, 0.001]);
    expect(ratesAt({ recoverSchedule: 'cosine' })).toEqual([0.0003, 0.0003, 0.0004, 0.00053, 0.0007, 0.0007]);
    expect(rateAt({ targetSparsity: 0.2, recipe: 'nuteprune' })).toBe(0.00043);
    expect(rateAt({ targetSparsity: 0.2, recoverLearningRate: 0.0007 })).toBe(0.0007);
    expect(rateAt({ targetSparsity: 0.2, recipe: 'wanda', recoverSteps: 50 })).toBe(0.001);
    expect(rateAt({ targetSparsity: 0.2, recoverLoraRank: 8 })).toBe(0.001);
    expect(['short', 'paper'].map((preset) => rateAt({ preset, targetSparsity: 0.2 }))).toEqual([0.001, 0.0001]);
  });
  it('recover all weights at a rate that is inverse to the hidden size of the model', () => {
    const rateAt = (hiddenSize: number, settings: RequestedSettings = {}): number =>
      resolveSettings(settings, { hiddenSize, maxPositions: 512 }).recoverLearningRate;
    expect([64, 192, 384, 4096].map((hiddenSize) => rateAt(hiddenSize))).toEqual([0.003, 0.001, 0.0005, 0.000047]);
    expect(rateAt(64, { recoverSchedule: 'cosine' })).toBe(0.0021);
    expect(rateAt(64, { recipe: 'wanda', recoverSteps: 50 })).toBe(0.003);
    for (const settings of [{ recoverLoraRank: 8 }, { preset: 'short', recoverWeights: 'all', recoverSteps: 50 }] as const) {
      expect(rateAt(64, settings)).toBe(0.001);
    }
    expect(rateAt(64, { recoverLearningRate: 0.002 })).toBe(0.002);
  });
  it('of the preset fisher prune at once and recover with the weights of the layers, at the rate of half the parameters', () => {
    const settings = resolveSettings({ preset: 'fisher', targetSparsity: 0.2 }, { hiddenSize: 576, maxPositions: 8192 });
    expect(settings).toMatchObject({
      recipe: 'fisher',
      totalSteps: 1,
      batchSize: 2,
      sequenceLength: 256,
      calibrationSequences: 64,
      recoverSteps: 5400,
      recoverWeights: 'layers',
      recoverSchedule: 'linear',
      recoverLearningRate: 0.00033,
    });
    expect(settingsViolations(settings)).toEqual([]);
  });
  it('of a scan have a step for each layer and prune nothing', () => {
    const model = { hiddenSize: 576, maxPositions: 128, layers: Array.from({ length: 30 }, () => ({ heads: 9, units: 1536 })) };
    const scan = resolveSettings({ recipe: 'scan' }, model);
    expect(scan).toMatchObject({
      totalSteps: 30,
      segmentSteps: 1,
      recoverSteps: 0,
      targetSparsity: 0,
      sequenceLength: 128,
      scanSequences: 8,
    });
    expect(settingsViolations(scan, model)).toEqual([]);
    expect(resolveSettings({ recipe: 'distill' }).scanSequences).toBe(0);
    const refusals = (changed: Partial<RunSettings>): string[] =>
      settingsViolations({ ...scan, ...changed }, model).map(({ field }) => field);
    expect(refusals({ totalSteps: 29 })).toEqual(['settings.total_steps']);
    expect(refusals({ recoverSteps: 10 })).toContain('settings.recover_steps');
    expect(refusals({ targetSparsity: 0.5 })).toEqual(['settings.target_sparsity']);
    expect(refusals({ scanSequences: 0 })).toEqual(['settings.scan_sequences']);
    expect(refusals({ recipe: 'distill' })).toContain('settings.scan_sequences');
    expect(refusals({ library: 'layers' })).toEqual(['settings.library']);
  });

  it('close key and value heads with their groups where recipe fisher prunes a model that has groups', () => {
    const gatesOf = (requested: RequestedSettings, kvHeads: number) => withGroupGates(requested, { heads: 9, kvHeads }).gates;
    expect(gatesOf({ preset: 'fisher' }, 3)).toEqual(['head', 'unit', 'hidden', 'kv-group']);
    expect(gatesOf({ preset: 'fisher' }, 9)).toBeUndefined();
    expect(gatesOf({ preset: 'fisher', gates: ['head', 'unit', 'hidden'] }, 3)).toEqual(['head', 'unit', 'hidden']);
    expect(gatesOf({}, 3)).toBeUndefined();
  });
  it('have a rate of LoRA that falls with the square of the hidden size to the published one', () => {
    const rateAt = (hiddenSize: number, settings: RequestedSettings = {}): number =>
      resolveSettings(settings, { hiddenSize, maxPositions: 512 }).loraLearningRate;
    expect([64, 192, 384, 576, 4096].map((hiddenSize) => rateAt(hiddenSize))).toEqual([0.01, 0.01, 0.0025, 0.0011, 0.001]);
    expect(rateAt(64, { preset: 'paper' })).toBe(0.001);
    expect(rateAt(4096, { loraLearningRate: 0.005 })).toBe(0.005);
  });
  it('are one step for recipes that prune at once', () => {
    const { totalSteps, warmupSteps, ...settings } = resolveSettings({ recipe: 'wanda', targetSparsity: 0.3 });
    expect([totalSteps, warmupSteps, scheduledSparsity({ ...settings, warmupSteps }, 0)]).toEqual([1, 0, 0.3]);
    expect(settingsViolations(resolveSettings({ recipe: 'taylor', layerLossWeight: 0, klLossWeight: 0 }))).toEqual([]);
    expect(settingsViolations(resolveSettings({ recipe: 'magnitude', totalSteps: 2 }))).toEqual([
      expect.objectContaining({ field: 'settings.total_steps', code: 'FIELD_OUT_OF_RANGE' }),
    ]);
    expect(settingsViolations(resolveSettings({ recipe: 'wanda', shapeTarget: 'uniform' }))).toEqual([
      expect.objectContaining({ field: 'settings.shape_target', code: 'FIELD_OUT_OF_RANGE' }),
    ]);
  });
  it('have a refit only where recovery begins and LoRA can hold what it finds', () => {
    const violations = (settings: object) => settingsViolations(resolveSettings({ recoverRefitBatches: 8, ...settings }));
    expect(violations({ recoverSteps: 10 })).toEqual([]);
    const field = 'settings.recover_refit_batches';
    expect(violations({ recoverSteps: 0 })).toEqual([
      expect.objectContaining({ field, description: expect.stringContaining('recover_steps') as string }),
    ]);
    expect(violations({ recoverSteps: 10, loraTargets: ['q_proj', 'o_proj'] })).toEqual([
      { field, description: 'is 8, but lora_targets lacks down_proj: both must have LoRA', code: 'FIELD_OUT_OF_RANGE' },
    ]);
  });
  it('name every bad field and what is allowed', () => {
    const violations = settingsViolations(
      resolveSettings({
        targetSparsity: 0.96,
        batchSize: 0,
        loraTargets: ['q_proj', 'x'],
        seed: '-1',
        sequenceLength: 600,
        preset: 'huge',
      }),
      { maxPositions: 512 },
    );
    expect(violations.map((one) => [one.field, one.code])).toEqual([
      ['settings.preset', 'FIELD_UNKNOWN_VALUE'],
      ['settings.target_sparsity', 'FIELD_OUT_OF_RANGE'],
      ['settings.seed', 'FIELD_UNKNOWN_VALUE'],
      ['settings.batch_size', 'FIELD_OUT_OF_RANGE'],
      ['settings.sequence_length', 'SEQUENCE_TOO_LONG'],
      ['settings.lora_targets', 'FIELD_UNKNOWN_VALUE'],
    ]);
    expect(violations[1]!.description).toContain('[0, 0.95]');
    expect(settingsViolations(resolveSettings({ targetSparsity: 0 }))).toEqual([]);
    expect(settingsViolations(resolveSettings({ targetSparsity: Number.NaN }))).toHaveLength(1);
  });
  it('take the rates of the rule that holds the sparsity, and faster masks for fewer steps', () => {
    const { maskLearningRate, lambdaLearningRate } = resolveSettings({ sparsityControl: 'multipliers', totalSteps: 150 });
    expect([maskLearningRate, lambdaLearningRate]).toEqual([0.1, 1]);
    expect(resolveSettings({ preset: 'paper', sparsityControl: 'tracking' })).toMatchObject({
      maskLearningRate: 0.1,
      lambdaLearningRate: 0.02,
    });
    expect([150, 350, 1400, 5000].map((totalSteps) => resolveSettings({ totalSteps }).maskLearningRate)).toEqual([0.3055, 0.2, 0.1, 0.1]);
    expect(resolveSettings({ totalSteps: 0 }).maskLearningRate).toBeLessThan(10); // refused for its steps, not for this
    expect(resolveSettings({ maskLearningRate: 0.3, lambdaLearningRate: 0.5 })).toMatchObject({
      maskLearningRate: 0.3,
      lambdaLearningRate: 0.5,
    });
  });
  it('hold equal sets of projections in one order', () => {
    expect(resolveSettings({ loraTargets: ['v_proj', 'q_proj'] }).loraTargets).toEqual(['q_proj', 'v_proj']);
  });
});

test('a default is in the table or computed here, never both or neither', () => {
  for (const preset of ['short', 'paper', 'nuteprune2', 'fisher']) {
    const settings = resolveSettings({ preset });
    for (const setting of settingsTable()) {
      expect([setting.field, settings[setting.name]]).not.toEqual([setting.field, undefined]);
      expect([setting.field, isComputed(setting.name)]).toEqual([setting.field, setting.computed]);
    }
  }
});

describe('schedules', () => {
  const settings = resolveSettings({ warmupSteps: 100, totalSteps: 400, loraLearningRate: 1e-3 });
  it('raise the scheduled sparsity to the target over the warm-up', () => {
    expect([0, 50, 100, 399].map((step) => scheduledSparsity({ ...settings, schedule: 'linear' }, step))).toEqual([0, 0.25, 0.5, 0.5]);
    expect([0, 50, 100].map((step) => scheduledSparsity({ ...settings, schedule: 'cubic' }, step))).toEqual([0, 0.4375, 0.5]);
    expect(scheduledSparsity({ ...settings, warmupSteps: 0, schedule: 'linear' }, 0)).toBe(0.5);
  });
  it('give recovery a rate of its own: up over its warm-up, then down to 0', () => {
    const rates = (recoverSchedule: 'linear' | 'cosine'): number[] => {
      const one = { ...settings, recoverSteps: 100, recoverWarmupSteps: 20, recoverLearningRate: 1e-2, recoverSchedule };
      return [399, 400, 419, 420, 460, 499].map((step) => Number(loraLearningRate(one, step).toPrecision(3)));
    };
    expect(rates('linear')).toEqual([2.5e-6, 5e-4, 1e-2, 1e-2, 5e-3, 1.25e-4]);
    expect(rates('cosine')).toEqual([2.5e-6, 5e-4, 1e-2, 1e-2, 5e-3, 3.85e-6]);
  });
  it('let the learning rate of LoRA fall to 0', () => {
    expect([0, 200, 399].map((step) => loraLearningRate(settings, step))).toEqual([1e-3, 5e-4, 2.5e-6]);
  });
});
