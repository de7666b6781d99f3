// A run's budget as clients see it: as it was asked for, as the masks predict it, and as it was measured in the export.
import type { v1 } from '#protocol';
import { amountAsked, aboutBudget } from '../pruning-run/method/budget.js';
import { typeInBlocks } from '../pruning-run/method/gguf-types.js';
import type { PruningRunState, RecordedExport } from '../pruning-run/aggregate/pruning-run.state.js';
import type { Budget, RunSettings, StateFact } from '../pruning-run/record/pruning-run.events.js';

/** Parameters, bytes and multiply-adds are whole numbers, though the expected cost of partly open gates is not. Seconds are not either. */
const shown = ({ setting }: Budget, amount: number, whole: (amount: number) => number = Math.round): number =>
  setting === 'targetSpeedup' ? amount : whole(amount);

export function budgetMessage(budget: Budget, settings: RunSettings): v1.Budget {
  const { field, unit: ofAll } = aboutBudget(budget);
  const type = budget.setting === 'targetBytes' ? typeInBlocks(settings) : null;
  const unit = type === null ? ofAll : `${ofAll} of a ${type} file`;
  const asked = shown(budget, amountAsked(budget, settings));
  const { speed } = budget;
  const intact = shown(budget, budget.intact);
  const least = shown(budget, budget.least, Math.ceil);
  const unset = {
    predicted: undefined,
    measured: undefined,
    prunableSparsity: undefined,
    prunableShare: undefined,
    prunableShareDecides: [],
  };
  return { setting: field, unit, asked, intact, least, ...unset, speed };
}

type Budgeted = Pick<PruningRunState, 'budget' | 'settings' | 'current' | 'exports' | 'model'>;

export function budgetOfRun(run: Budgeted): v1.Budget | undefined {
  const { budget, settings, current } = run;
  if (budget === undefined) return undefined;
  const asked = budgetMessage(budget, settings);
  if (current === null) return asked;
  const predicted = shown(budget, budget.intact * (1 - current.hardSparsity));
  return { ...asked, predicted, measured: measuredOf(run, budget, current) };
}

const BYTES_EACH: Record<string, number> = { f32: 4, f16: 2, bf16: 2 };

/** The formats whose exports have no zeros that fill shapes up: hf and vllm only if the masks learned their shapes. */
function plainFormats({ shapeTarget }: RunSettings): string[] {
  if (shapeTarget === 'uniform') return ['hf-remote', 'hf'];
  return shapeTarget === 'vllm' ? ['hf-remote', 'vllm'] : ['hf-remote'];
}

/** Returns what the newest export of the last state measures that has the form and the type which the budget counts. */
function measuredOf({ settings, exports, model }: Budgeted, budget: Budget, current: StateFact): number | undefined {
  // For every state the engine counts the multiplications with the tensors of its export. Attention has no tensor, so it is added here.
  if (budget.setting === 'targetMacs')
    return current.size && current.size.multiplications + (budget.cost[4] ?? 0) * current.headsOpen.reduce((sum, heads) => sum + heads, 0);
  if (budget.setting === 'targetSpeedup') return undefined; // `espalier bench` measures it and records nothing
  const { budgetDtype } = settings;
  const inBlocks = typeInBlocks(settings) !== null;
  const formats = inBlocks ? ['gguf'] : plainFormats(settings);
  const ofModel = Math.round(model.weightBytes / model.parameterCount);
  const hasType = (dtype: string): boolean => (budgetDtype === 'model' ? BYTES_EACH[dtype] === ofModel : dtype === budgetDtype);
  const counts = ({ made, dtype, stateDigest }: RecordedExport): boolean =>
    stateDigest === current.stateDigest &&
    made !== undefined &&
    formats.includes(made.format) &&
    (budget.setting === 'targetParams' || hasType(dtype.toLowerCase()));
  const newest = exports.findLast(counts);
  if (newest === undefined) return undefined;
  if (budget.setting === 'targetParams') return newest.parameterCount;
  const isWeights = ({ name }: { name: string }): boolean => name.endsWith(inBlocks ? '.gguf' : '.safetensors');
  const weights = newest.files.filter(isWeights).reduce((sum, { bytes }) => sum + bytes, 0);
  const kvHeads = newest.made!.layers.reduce((sum, layer) => sum + layer.kvHeads, 0);
  return weights + kvHeads * cacheOfHead(budget);
}

/** Bytes of the cache: the cost of a key/value head beside the weights, without its biases, which are two vectors. */
function cacheOfHead({ cost }: Budget): number {
  const [headBias = 0, , ofKv = 0] = cost.slice(4);
  return ofKv - 2 * headBias;
}
