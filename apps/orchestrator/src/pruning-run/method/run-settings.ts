// Presets, defaults and limits of a run's settings. Validation names every bad field at once.
import type { FieldViolation } from '#protocol';
import type { RunSettings, SparsityControl } from '../record/pruning-run.events.js';

/** What a request leaves out takes the preset's value; undefined fields are left out. */
export type RequestedSettings = { [K in keyof RunSettings]?: RunSettings[K] | undefined };

export const LORA_TARGETS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];
export const TARGET_SPARSITY_MAX = 0.95;

interface Preset {
  defaults: Omit<RunSettings, 'preset' | 'warmupSteps' | 'maskLearningRate' | 'lambdaLearningRate' | 'sparsityControl'>;
  sparsityControl: SparsityControl;
  /** Where multipliers hold the sparsity. */
  multiplierLearningRate: number;
  /** Share of all steps over which the scheduled sparsity rises. */
  warmupShare(targetSparsity: number): number;
}

const method = {
  recipe: 'nuteprune',
  schedule: 'linear',
  seed: '42',
  targetSparsity: 0.5,
  loraLearningRate: 1e-3,
  gradientClipNorm: 1,
  layerLossWeight: 0.9,
  klLossWeight: 0.1,
  temperature: 2 / 3,
  loraRank: 8,
  loraAlpha: 8,
  snapshotInterval: 0.01,
  teacherGapMarks: 10,
  computeDtype: 'bf16',
  denseSteps: false,
  checkpointActivations: false,
  evaluationWindow: 256,
} as const;

export const presets: Record<string, Preset> = {
  /** Minutes on a small model, and on target however few the steps. Multipliers, where asked for, learn ten times faster than published. */
  short: {
    sparsityControl: 'tracking',
    multiplierLearningRate: 1,
    defaults: {
      ...method,
      totalSteps: 1400,
      batchSize: 8,
      sequenceLength: 128,
      loraTargets: LORA_TARGETS,
      segmentSteps: 50,
    },
    warmupShare: () => 0.3,
  },
  /** The published scale: 7 epochs of 1,250 steps; warm-up over 1 of them, or 4 for a low target. */
  paper: {
    sparsityControl: 'multipliers',
    multiplierLearningRate: 0.1,
    defaults: {
      ...method,
      totalSteps: 8750,
      batchSize: 16,
      sequenceLength: 512,
      loraTargets: ['q_proj', 'v_proj'],
      segmentSteps: 100,
    },
    warmupShare: (targetSparsity) => (targetSparsity < 0.35 ? 4 / 7 : 1 / 7),
  },
};

export interface ModelLimits {
  maxPositions: number;
}

/** Fills in defaults; nothing is checked here. An unknown preset takes the defaults of `short`. */
export function resolveSettings(requested: RequestedSettings, limits?: ModelLimits): RunSettings {
  const preset = presets[requested.preset ?? 'short'] ?? presets['short']!;
  const given = Object.fromEntries(Object.entries(requested).filter(([, value]) => value !== undefined)) as Partial<RunSettings>;
  const named = { ...preset.defaults, ...given, preset: requested.preset ?? 'short' };
  const sparsityControl = given.sparsityControl ?? preset.sparsityControl;
  const merged = { ...controlDefaults(sparsityControl, named.totalSteps, preset), ...named, sparsityControl } as RunSettings;
  const warmupSteps = given.warmupSteps ?? Math.floor(merged.totalSteps * preset.warmupShare(merged.targetSparsity));
  const widest = limits?.maxPositions ?? Infinity;
  const evaluationWindow = given.evaluationWindow ?? Math.min(merged.evaluationWindow, widest);
  return { ...merged, warmupSteps, evaluationWindow, loraTargets: inOrder(merged.loraTargets) };
}

/** Where the settings of a fork change the rule that holds the sparsity, its rate is no longer that of the other one. */
export function lambdaLearningRateOf(control: SparsityControl, preset: string): number {
  return control === 'tracking' ? PRICE_LEARNING_RATE : (presets[preset] ?? presets['short']!).multiplierLearningRate;
}

const PRICE_LEARNING_RATE = 0.02;
const MASK_LEARNING_RATE = 0.1; // as published
/** With fewer steps masks have to move faster to be told apart: at 150 steps 0.4 did better than 0.2 and 0.8 (docs/design/sparsity.md). */
const STEPS_AT_PUBLISHED_MASK_RATE = 1400;

function controlDefaults(
  control: SparsityControl,
  totalSteps: number,
  preset: Preset,
): Pick<RunSettings, 'maskLearningRate' | 'lambdaLearningRate'> {
  if (control === 'multipliers') return { maskLearningRate: MASK_LEARNING_RATE, lambdaLearningRate: preset.multiplierLearningRate };
  const faster = Math.sqrt(Math.max(1, STEPS_AT_PUBLISHED_MASK_RATE / Math.max(1, totalSteps)));
  return { maskLearningRate: Math.round(MASK_LEARNING_RATE * faster * 1e4) / 1e4, lambdaLearningRate: PRICE_LEARNING_RATE };
}

/** One order, so that equal sets are equal settings; unknown names stay, to be refused. */
function inOrder(targets: readonly string[]): string[] {
  const rank = (name: string): number => (LORA_TARGETS.indexOf(name) + LORA_TARGETS.length + 1) % (LORA_TARGETS.length + 1);
  return [...targets].sort((left, right) => rank(left) - rank(right));
}

interface Rule {
  /** As in the request. */
  field: string;
  value: number;
  whole?: boolean;
  min?: number;
  above?: number; // exclusive
  max?: number;
  why?: string;
}

/** Every bad field with what is allowed; empty when all is well. `limits` is left out before the model is known. */
export function settingsViolations(s: RunSettings, limits?: ModelLimits): FieldViolation[] {
  const rules: Rule[] = [
    { field: 'target_sparsity', value: s.targetSparsity, min: 0, max: TARGET_SPARSITY_MAX },
    { field: 'total_steps', value: s.totalSteps, whole: true, min: 1, max: 10_000_000 },
    { field: 'warmup_steps', value: s.warmupSteps, whole: true, min: 0, max: s.totalSteps, why: 'total_steps' },
    { field: 'batch_size', value: s.batchSize, whole: true, min: 1, max: 4096 },
    { field: 'sequence_length', value: s.sequenceLength, whole: true, min: 2, max: 131_072 },
    { field: 'lora_learning_rate', value: s.loraLearningRate, min: 0, max: 1 },
    { field: 'mask_learning_rate', value: s.maskLearningRate, min: 0, max: 10 },
    { field: 'lambda_learning_rate', value: s.lambdaLearningRate, min: 0, max: 100 },
    { field: 'gradient_clip_norm', value: s.gradientClipNorm, above: 0, max: 1e6 },
    { field: 'layer_loss_weight', value: s.layerLossWeight, min: 0, max: 1e6 },
    { field: 'kl_loss_weight', value: s.klLossWeight, min: 0, max: 1e6 },
    { field: 'temperature', value: s.temperature, min: 0.01, max: 100 },
    { field: 'lora_rank', value: s.loraRank, whole: true, min: 1, max: 1024 },
    { field: 'lora_alpha', value: s.loraAlpha, above: 0, max: 1e6 },
    { field: 'snapshot_interval', value: s.snapshotInterval, min: 0.001, max: 0.5 },
    { field: 'teacher_gap_marks', value: s.teacherGapMarks, whole: true, min: 1, max: 1000 },
    { field: 'segment_steps', value: s.segmentSteps, whole: true, min: 1, max: 100_000 },
    { field: 'evaluation_window', value: s.evaluationWindow, whole: true, min: 2, max: 131_072 },
  ];
  return [...rules.flatMap(violationOf), ...choiceViolations(s), ...(limits === undefined ? [] : positionViolations(s, limits))];
}

function violationOf(rule: Rule): FieldViolation[] {
  const { value, whole, min, above, max } = rule;
  const fits =
    Number.isFinite(value) &&
    (!whole || Number.isInteger(value)) &&
    (min === undefined || value >= min) &&
    (above === undefined || value > above) &&
    (max === undefined || value <= max);
  if (fits) return [];
  const low = above === undefined ? `[${min}` : `(${above}`;
  const allowed = `must be ${whole ? 'a whole number ' : ''}in ${low}, ${max}]${rule.why ? ` (at most ${rule.why})` : ''}, is ${value}`;
  return [{ field: `settings.${rule.field}`, description: allowed, code: 'FIELD_OUT_OF_RANGE' }];
}

function choiceViolations(s: RunSettings): FieldViolation[] {
  const violations: FieldViolation[] = [];
  const unknown = (field: string, description: string): void => {
    violations.push({ field: `settings.${field}`, description, code: 'FIELD_UNKNOWN_VALUE' });
  };
  if (!Object.hasOwn(presets, s.preset)) unknown('preset', `must be one of ${Object.keys(presets).join(', ')}, is "${s.preset}"`);
  const strange = s.loraTargets.filter((name) => !LORA_TARGETS.includes(name));
  if (strange.length > 0) unknown('lora_targets', `must be among ${LORA_TARGETS.join(', ')}; "${strange.join('", "')}" is not`);
  if (s.loraTargets.length === 0) unknown('lora_targets', 'must name at least one projection');
  if (new Set(s.loraTargets).size < s.loraTargets.length) unknown('lora_targets', 'must name each projection once');
  if (!/^\d+$/.test(s.seed) || BigInt(s.seed) >= 1n << 64n) unknown('seed', `must be a whole number below 2^64, is ${s.seed}`);
  if (s.recipe !== 'lm' && s.layerLossWeight === 0 && s.klLossWeight === 0) {
    unknown('layer_loss_weight', 'must be above 0 where kl_loss_weight is 0: nothing would be learnt');
  }
  return violations;
}

function positionViolations(s: RunSettings, { maxPositions }: ModelLimits): FieldViolation[] {
  const fields: [string, number][] = [
    ['sequence_length', s.sequenceLength],
    ['evaluation_window', s.evaluationWindow],
  ];
  return fields
    .filter(([, tokens]) => tokens > maxPositions)
    .map(([field, tokens]) => ({
      field: `settings.${field}`,
      description: `must be at most the model's ${maxPositions} positions, is ${tokens}`,
      code: 'SEQUENCE_TOO_LONG',
    }));
}
