// A run's budget as clients see it: as it was asked for, as the masks predict it, and as it was measured in the export.
import type { v1 } from '#protocol';
import { amountAsked, aboutBudget } from '../pruning-run/method/budget.js';
import { typeInBlocks } from '../pruning-run/method/gguf-types.js';
import type { PruningRunState, RecordedExport, RecordedSpeed } from '../pruning-run/aggregate/pruning-run.state.js';
import type { Budget, ModelIdentity, RunSettings, StateFact } from '../pruning-run/record/pruning-run.events.js';

/** Parameters, bytes and multiply-adds are whole numbers, though the expected cost of partly open gates is not. Seconds are not either. */
const shown = ({ setting }: Budget, amount: number, whole: (amount: number) => number = Math.round): number =>
  setting === 'targetSpeedup' ? amount : whole(amount);

export function budgetMessage(budget: Budget, settings: RunSettings, model: Sizes): v1.Budget {
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
  return { setting: field, unit, asked, intact, least, ...unset, speed, intactSize: intactSize(budget, settings, model) };
}

type Sizes = Pick<ModelIdentity, 'layers' | 'parameterCount' | 'weightBytes'>;

function intactSize(budget: Budget, settings: RunSettings, { layers, parameterCount, weightBytes }: Sizes): number {
  if (budget.setting !== 'targetBytes' || typeInBlocks(settings) !== null) return shown(budget, budget.intact);
  const weights = settings.budgetDtype === 'model' ? weightBytes : parameterCount * BYTES_EACH[settings.budgetDtype]!;
  return weights + layers.length * budget.kvHeads * budget.cacheBytes;
}

type Budgeted = Pick<PruningRunState, 'budget' | 'settings' | 'current' | 'exports' | 'model' | 'speeds'>;

export function budgetOfRun(run: Budgeted): v1.Budget | undefined {
  const { budget, settings, current, model } = run;
  if (budget === undefined) return undefined;
  const asked = budgetMessage(budget, settings, model);
  if (current === null) return asked;
  const predicted = shown(budget, budget.intact * (1 - current.hardSparsity));
  return { ...asked, predicted, measured: measuredOf(run, budget, current) };
}

const BYTES_EACH: Record<string, number> = { f32: 4, f16: 2, bf16: 2 };

/** Returns the budgeted amount of the last state. Parameters and bytes are known only once the state was exported. */
function measuredOf(run: Budgeted, budget: Budget, current: StateFact): number | undefined {
  switch (budget.setting) {
    case 'targetMacs':
      // For every state the engine counts the multiplications with the tensors of its export. Attention has no tensor, so it is added here.
      return current.size.multiplications + (budget.cost[4] ?? 0) * current.headsOpen.reduce((sum, heads) => sum + heads, 0);
    case 'targetSpeedup':
      return measuredSeconds(budget, run.speeds, current);
    case 'targetParams':
      return newestExport(run, current, () => true)?.parameterCount;
    case 'targetBytes':
      return exportedBytes(run, budget, current);
  }
}

/** Returns the last state's newest export in the budget's kind of file that has all of its parameters, and no zeros that fill shapes up. */
function newestExport(
  { settings, exports }: Budgeted,
  current: StateFact,
  counts: (made: RecordedExport) => boolean,
): RecordedExport | undefined {
  const isFile = typeInBlocks(settings) !== null;
  return exports.findLast(
    (one) =>
      one.stateDigest === current.stateDigest &&
      (one.made.format === 'gguf') === isFile &&
      one.parameterCount === current.size.parameterCount &&
      counts(one),
  );
}

/** Returns the bytes of the newest export that has the budget's type, and those of the cache. */
function exportedBytes(run: Budgeted, budget: Budget, current: StateFact): number | undefined {
  const { budgetDtype } = run.settings;
  const ofModel = Math.round(run.model.weightBytes / run.model.parameterCount);
  const hasType = (dtype: string): boolean => (budgetDtype === 'model' ? BYTES_EACH[dtype] === ofModel : dtype === budgetDtype);
  const newest = newestExport(run, current, ({ dtype }) => hasType(dtype.toLowerCase()));
  if (newest === undefined) return undefined;
  const { format, tensorBytes, layers } = newest.made;
  const weights = format === 'gguf' ? (newest.files.find(({ name }) => name.endsWith('.gguf'))?.bytes ?? 0) : tensorBytes;
  return weights + layers.reduce((sum, layer) => sum + layer.kvHeads, 0) * budget.cacheBytes;
}

/**
 * Returns the seconds of the budget's pass by the last measurement of the state under the conditions of the speed table. A measurement says
 * how many times as fast the pruned model is; the table says how many seconds the intact one takes.
 */
function measuredSeconds({ intact, speed }: Budget, speeds: readonly RecordedSpeed[], current: StateFact): number | undefined {
  const found = speeds.findLast(
    ({ subject, stateDigest, device, computeDtype, batch, promptTokens }) =>
      subject === 'masked' &&
      stateDigest === current.stateDigest &&
      device === speed?.device &&
      computeDtype === speed.dtype &&
      batch === speed.batch &&
      promptTokens === speed.context,
  );
  return found && speed && intact / found[speed.phase].times;
}
