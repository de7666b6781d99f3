import { resolveSettings, type RequestedSettings } from '../method/run-settings.js';
import { realModelAdvice, recipeAdvice, recoveryRateAdvice, smallModelAdvice, targetAdvice } from './recipe-advice.js';

const advice = (settings: RequestedSettings): string[] => recipeAdvice(resolveSettings(settings)).map(({ message }) => message);

test('the default needs no advice, nor does a baseline, nor a target at which no recipe gains', () => {
  expect(advice({})).toEqual([]);
  expect(advice({ recipe: 'wanda' })).toEqual([]);
  expect(advice({ preset: 'short', targetSparsity: 0.2 })).toEqual([]);
});

test('pruning alone is told what recovery of all weights is worth, at the measured target that is nearest', () => {
  expect(advice({ preset: 'short' })).toEqual([expect.stringContaining('at 50%, pruning alone')]);
  expect(advice({ preset: 'short', recipe: 'distill', targetSparsity: 0.9 })).toEqual([expect.stringContaining('at 70%, pruning alone')]);
  expect(advice({ preset: 'short', recoverSteps: 100 })).toHaveLength(1); // only LoRA recovers
  expect(advice({ preset: 'short', recoverSteps: 100, recoverWeights: 'all' })).toEqual([]);
});

test('a model with few weights is told of masks that are chosen at once, where that was better', () => {
  const told = (settings: RequestedSettings, parameters = 358_336): string[] =>
    smallModelAdvice(resolveSettings(settings, { hiddenSize: 64, maxPositions: 512 }), parameters).map(({ message }) => message);
  expect(told({})).toEqual([expect.stringMatching(/a target of 50% and recover_learning_rate 0\.003: .*wanda --recover-steps 5400$/)]);
  // The figures are those of one target and one rate.
  expect(told({ targetSparsity: 0.55 })).toEqual([expect.stringContaining('0.003, where this run has 55% and 0.003: ')]);
  expect(told({ recoverLearningRate: 0.001 })).toEqual([expect.stringContaining('0.003, where this run has 50% and 0.001: ')]);
  expect(told({}, 3_443_136)).toEqual([]);
  for (const settings of [
    { targetSparsity: 0.3 },
    { targetSparsity: 0.7 }, // a target in parameters was better there
    { recipe: 'wanda', recoverSteps: 50 },
    { recoverSteps: 0 },
    { preset: 'short' },
  ] as const) {
    expect(told(settings)).toEqual([]);
  }
});

test('a real model is advised to be pruned at once, up to the targets at which that was as good or better', () => {
  const told = (settings: RequestedSettings, parameters = 134_515_008): string[] =>
    realModelAdvice(resolveSettings(settings), parameters).map(({ message }) => message);
  expect(told({ targetSparsity: 0.3 })).toEqual([expect.stringMatching(/23\.8 .* 38\.1 .*--preset fisher$/)]);
  expect(told({}, 3_443_136)).toEqual([]);
  for (const settings of [
    { preset: 'fisher' },
    { preset: 'short' },
    { targetSparsity: 0.7 },
    { recoverWeights: 'lora' },
    { shapeTarget: 'uniform' }, // only masks that learn are held to a shape
  ] as const) {
    expect(told(settings)).toEqual([]);
  }
});

test('a rate of recovery that follows from a hidden size is warned of where the rule was not tried', () => {
  const told = (settings: RequestedSettings, hiddenSize: number): string[] => {
    const resolved = resolveSettings(settings, { hiddenSize, maxPositions: 512 });
    return recoveryRateAdvice(resolved, { hiddenSize }, settings, null).map(({ message }) => message);
  };
  expect(told({}, 4096)).toEqual([
    expect.stringMatching(/^recover_learning_rate 0\.000047 .* hidden size 4096 .* 0\.001 x 192 \/ 4096, .* 64 to 576 only/),
  ]);
  expect(told({ recipe: 'wanda', recoverSteps: 100 }, 16)).toEqual([expect.stringContaining('0.001 x 192 / 16')]);
  expect(told({}, 768)).toEqual([]);
  for (const settings of [{ recoverLearningRate: 0.0001 }, { recoverWeights: 'lora' }, { recoverSteps: 0 }, { preset: 'paper' }] as const) {
    expect(told(settings, 4096)).toEqual([]);
  }
});

describe('a target in parameters', () => {
  const bundled = { parameterCount: 3_443_136, prunableParameterCount: 2_654_208 };
  const told = (settings: RequestedSettings, sizes = bundled): string[] =>
    targetAdvice(resolveSettings(settings), sizes, 2_116_032).map(({ message }) => message);

  test('is advised where much of the model lies outside its layers', () => {
    expect(told({ targetSparsity: 0.7 })).toEqual([expect.stringMatching(/does not count 23% .* target_params of about 2116032 /)]);
    expect(told({ targetSparsity: 0.7 }, { parameterCount: 6_738_415_616, prunableParameterCount: 6_476_005_376 })).toEqual([]);
  });

  test('is not advised where masks choose no hidden units, or where it gained nothing', () => {
    expect(told({ targetSparsity: 0.7, recipe: 'wanda' })).toEqual([]);
    expect(told({ targetSparsity: 0.7, gates: ['head', 'unit'] })).toEqual([]);
    expect(told({ targetSparsity: 0.5 })).toEqual([]);
  });
});
