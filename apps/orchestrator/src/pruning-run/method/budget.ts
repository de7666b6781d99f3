// Budgets are targets in parameters, bytes, multiply-adds or seconds of the exported model, in place of a sparsity. Each budget is a cost
// of the open parts (model-cost.ts). The engine makes the share of the cost that is gone follow the schedule, as it otherwise does with the
// share of the prunable parameters. So the target_sparsity of a run with a budget is the share of the cost that has to go, and the rules of
// the schedule read this share. Defaults that follow from a sparsity follow from the share of the prunable cost (run-settings.ts).
import { amountAsTyped, amountOfBudget, BUDGET_NAMES, BUDGETS, limitsAsTyped } from '#comparison';
import { NO_TABLE, settingOfName, valueOfText, type FieldViolation } from '#protocol';
import type { Budget, ModelIdentity, RunSettings } from '../record/pruning-run.events.js';
import { blockGatesOf, LOG_ALPHA_MIN, openProbability } from './gates.js';
import {
  byteCost,
  cacheBytes,
  costAt,
  costFrom,
  gatesAt,
  intactCost,
  multiplyAddCost,
  numbersOf,
  parameterCost,
  prunableCost,
  WITHOUT_PARTS,
  type Cost,
  type Gates,
  type ModelShape,
  type OpenGates,
} from './model-cost.js';
import { prunesAtOnce } from './phases.js';
import { secondsCost, type SpeedTable } from './speed-table.js';

type BudgetSetting = Budget['setting'];
type Amounts = { [K in BudgetSetting]?: number | undefined };

/** The value of `library` in a run whose widths no scan chose. */
export const NO_LIBRARY = 'none';
/** The value of `layer_widths` in a run whose target decides the widths. */
export const NO_WIDTHS = 'none';

/** The largest share of a cost that a run may be asked to remove. It equals the upper limit of target_sparsity. */
const SPARSITY_MAX = 0.95;
/** The tolerance for a share that a client computed itself, since its last digits may differ. */
const SHARE_TOLERANCE = 1e-6;

const given = (amounts: Amounts): BudgetSetting[] => BUDGET_NAMES.filter((name) => (amounts[name] ?? 0) !== 0);
export const budgetSettingOf = (amounts: Amounts): BudgetSetting | null => given(amounts)[0] ?? null;
export const aboutBudget = ({ setting }: Pick<Budget, 'setting'>): { field: string; unit: string } => BUDGETS[setting];

export const conflict = (setting: string, other: string): FieldViolation => ({
  field: `settings.${setting}`,
  description: `is given beside ${other}: a run has one target`,
  code: 'BUDGETS_CONFLICT',
});

/** The settings that say how a budget counts, each with the budgets that it is for. */
const COUNTED_BY = {
  budgetContext: ['targetBytes', 'targetMacs'],
  budgetBatch: ['targetBytes'],
  budgetDtype: ['targetBytes'],
  speedTable: ['targetSpeedup'],
} as const satisfies Partial<Record<keyof RunSettings, readonly BudgetSetting[]>>;
type CountSetting = keyof typeof COUNTED_BY;
export const COUNT_SETTINGS = Object.keys(COUNTED_BY) as CountSetting[];

/**
 * Returns the settings of a budget and of what it counts; nothing where there is no budget.
 */
export function settingsOfBudget(settings: { [K in BudgetSetting | CountSetting]?: RunSettings[K] | undefined }): Partial<RunSettings> {
  if (budgetSettingOf(settings) === null) return {};
  return Object.fromEntries([...BUDGET_NAMES, ...COUNT_SETTINGS].map((name) => [name, settings[name]]));
}

type BudgetSettings = Pick<RunSettings, BudgetSetting | CountSetting | 'recipe' | 'gates' | 'shapeTarget'>;

/**
 * Tells whether a library will choose the widths of the layers. Its choice keeps several targets together, and takes their place. So it may
 * ask for what other recipes that prune at once can't keep.
 */
export const choosesWidths = ({ library, layerWidths }: Pick<RunSettings, 'library' | 'layerWidths'>): boolean =>
  library !== NO_LIBRARY && layerWidths === NO_WIDTHS;

/** Reports requests with more than one budget, and settings that no budget of the request uses. This check needs no model. */
export function budgetViolations(settings: Pick<RunSettings, BudgetSetting | CountSetting | 'library' | 'layerWidths'>): FieldViolation[] {
  const budgets = given(settings);
  const [first, ...more] = budgets;
  if (first !== undefined && more.length > 0 && !choosesWidths(settings))
    return more.map((name) => conflict(BUDGETS[name].field, BUDGETS[first].field));
  return COUNT_SETTINGS.flatMap((name) => {
    const goBy: readonly BudgetSetting[] = COUNTED_BY[name];
    const setting = settingOfName(name);
    if (settings[name] === valueOfText(setting, setting.default) || budgets.some((budget) => goBy.includes(budget))) return [];
    const which = goBy.map((budget) => BUDGETS[budget].field).join(' or ');
    return [{ field: `settings.${setting.field}`, description: `is given without ${which}, which uses it`, code: 'BUDGETS_CONFLICT' }];
  });
}

/** Reports a target in seconds without a table of speeds, with a recipe whose masks do not learn, or a table without this target. */
export function speedViolations({
  targetSpeedup,
  speedTable,
  recipe,
  library,
}: Pick<RunSettings, 'targetSpeedup' | 'speedTable' | 'recipe' | 'library'>): FieldViolation[] {
  if (targetSpeedup === 0) return [];
  const least = settingOfName('targetSpeedup').askedMin ?? 0;
  if (targetSpeedup < least) {
    const description = `is slower than the intact model: must be at least ${least}, is ${targetSpeedup}`;
    return [{ field: 'settings.target_speedup', description, code: 'BUDGET_OUT_OF_REACH' }];
  }
  if (speedTable === NO_TABLE)
    return [
      {
        field: 'settings.speed_table',
        description: 'is needed with target_speedup: `espalier launch --on DEVICE` measures one (docs/speed-tables.md)',
        code: 'FIELD_REQUIRED',
      },
    ];
  if (!prunesAtOnce(recipe) || library !== NO_LIBRARY) return [];
  const description = `can't be the target of recipe ${recipe}: the cost of a part depends on how many are open, so masks have to learn`;
  return [{ field: 'settings.target_speedup', description, code: 'FIELD_UNKNOWN_VALUE' }];
}

function costOf(setting: BudgetSetting, settings: BudgetSettings, model: ModelShape, table: SpeedTable | null): Cost | null {
  switch (setting) {
    case 'targetParams':
      return parameterCost(model);
    case 'targetBytes':
      return byteCost(model, settings);
    case 'targetMacs':
      return multiplyAddCost(model, settings);
    case 'targetSpeedup':
      return table && secondsCost(table);
  }
}

/**
 * Returns the budgets that the settings ask for: one at most, or several where a library chooses the widths.
 * @param measured the table for a target in seconds, with the digest of its file; null for all other targets, and for one in seconds that
 *   has no table yet and is left out
 */
export function budgetsOf(settings: BudgetSettings, model: ModelShape, measured: ReadTable | null = null): Budget[] {
  return given(settings).flatMap((setting) => budgetFor(setting, settings, model, measured) ?? []);
}

function budgetFor(setting: BudgetSetting, settings: BudgetSettings, model: ModelShape, measured: ReadTable | null): Budget | null {
  const cost = costOf(setting, settings, model, measured && measured.table);
  if (cost === null) return null;
  const intact = intactCost(cost, model);
  const closed = prunesAtOnce(settings.recipe) ? WITHOUT_PARTS : gatesAt(model, openProbability(LOG_ALPHA_MIN), blockGatesOf(settings));
  const least = Math.max(costAt(cost, closed), intact * (1 - SPARSITY_MAX));
  const cache = setting === 'targetBytes' ? cacheBytes(model, settings) : 0;
  const budget = { setting, intact, least, kvHeads: model.kvHeads, cacheBytes: cache, cost: numbersOf(cost) };
  if (setting !== 'targetSpeedup' || measured === null) return budget;
  const { digest, table } = measured;
  const { device, dtype, phase, batch, context } = table;
  return { ...budget, speed: { tableDigest: digest, device, dtype, phase, batch, context } };
}

export interface ReadTable {
  digest: string;
  table: SpeedTable;
}

/** The amount that the settings ask for, in the budget's unit. */
export function amountAsked({ setting, intact }: Pick<Budget, 'setting' | 'intact'>, amounts: Amounts): number {
  return amountOfBudget(setting, amounts[setting] ?? 0, intact);
}

/** The share of the cost that has to go. */
export const shareToGo = (budget: Budget, amounts: Amounts): number => Math.max(0, 1 - amountAsked(budget, amounts) / budget.intact);

/** The cost that no gate of heads or units takes away, such as that of the embeddings. */
const fixedCost = ({ cost }: Budget): number => costAt(costFrom(cost), WITHOUT_PARTS);

/**
 * The share of the cost of heads and units that has to go. In a run without a budget, the target sparsity is this share of the parameters.
 * Above 1, hidden units have to close beside all heads and units.
 */
export function prunableShareToGo(budget: Budget, amounts: Amounts): number {
  return Math.max(0, budget.intact - amountAsked(budget, amounts)) / (budget.intact - fixedCost(budget));
}

/** The least share that can be left is 1 - 0.95, which differs from 0.05 by rounding. */
const ROUNDING = 1e-12;
const roundedUp = (share: number): number => Math.ceil(share * (1 - ROUNDING) * 1e4) / 1e4;

/** The limits of a budget, and what was asked, in the form that people type. */
function asTyped(setting: Budget['setting'], limits: { least: number; most: number; asked: number }): [limits: string, asked: string] {
  const { least, most, asked } = limits;
  const { given, unit } = BUDGETS[setting];
  if (given === 'share') return [`${percent(least)} to ${percent(most)}`, percent(asked)];
  return [limitsAsTyped(limits, unit), amountAsTyped(asked, unit)];
}

const percent = (share: number): string => `${Number((share * 100).toPrecision(6))}%`;

/** @param targetSparsity the target that the request gives beside the budget; it has to equal the budget's share */
export function amountViolations(budget: Budget, amounts: Amounts, targetSparsity?: number): FieldViolation[] {
  const { field } = aboutBudget(budget);
  const asked = amountAsked(budget, amounts);
  if (budget.setting === 'targetSpeedup' && (asked > budget.intact || asked < budget.least)) {
    const most = Math.floor((budget.intact / budget.least) * 100) / 100;
    const fixed = fixedCost(budget) / budget.intact;
    const why =
      asked > budget.intact
        ? 'is slower than the intact model'
        : 'is faster than any masks can make the model by this table: ' +
          `what is fixed (embeddings, lm_head, the pass itself) takes ${(fixed * 100).toFixed(1)}% of the intact model's time`;
    const description = `${why}: must be in [1, ${most}], is ${amounts.targetSpeedup}`;
    return [{ field: `settings.${field}`, description, code: 'BUDGET_OUT_OF_REACH' }];
  }
  if (asked > budget.intact || asked < budget.least * (1 - ROUNDING)) {
    const unit = BUDGETS[budget.setting].given === 'share' ? budget.intact : 1;
    const [least, most] = unit === 1 ? [Math.ceil(budget.least), Math.floor(budget.intact)] : [roundedUp(budget.least / unit), 1];
    const why =
      asked > budget.intact ? 'is more than the intact model has' : 'is less than the masks can leave: not all of a model is prunable';
    const given = amounts[budget.setting] ?? 0;
    const [limits, typed] = asTyped(budget.setting, { least, most, asked: given });
    const description = `${why}: must be in [${least}, ${most}] (${limits}), is ${given} (${typed})`;
    return [{ field: `settings.${field}`, description, code: 'BUDGET_OUT_OF_REACH' }];
  }
  const differs = targetSparsity !== undefined && Math.abs(targetSparsity - shareToGo(budget, amounts)) > SHARE_TOLERANCE;
  return differs ? [conflict('target_sparsity', field)] : [];
}

/** Reports settings by which a fork would count otherwise than its parent. The states of both must mean the same cost by a sparsity. */
export function budgetOfForkViolations(parent: Budget | undefined, overrides: Partial<RunSettings>): FieldViolation[] {
  const fixed = (field: string, why: string): FieldViolation => ({
    field: `settings.${field}`,
    description: `${why}: launch a run instead`,
    code: 'FORK_FIELD_FIXED',
  });
  const own = parent === undefined ? 'target_sparsity' : aboutBudget(parent).field;
  const others = BUDGET_NAMES.filter((name) => name !== parent?.setting && (overrides[name] ?? 0) !== 0).map((name) => BUDGETS[name].field);
  const violations = others.map((field) => fixed(field, `can't be the target of a fork whose parent counts by ${own}`));
  if (parent === undefined) return violations;
  if (overrides[parent.setting] !== undefined) violations.push(...amountViolations(parent, overrides, overrides.targetSparsity));
  else if (overrides.targetSparsity !== undefined) violations.push(fixed('target_sparsity', `is given by ${own}, which a fork may change`));
  return violations;
}

const gatesOf = ({ layers }: Pick<ModelIdentity, 'layers'>, { kvHeads }: Budget): Gates => ({
  layers: layers.length,
  heads: layers[0]?.heads ?? 0,
  units: layers[0]?.units ?? 0,
  kvHeads,
});

/** Returns a function from the probability with which every gate is open to the share of the budget's cost that is gone. */
export function shareGoneAt(
  budget: Budget,
  model: Pick<ModelIdentity, 'layers'>,
  settings: Pick<RunSettings, 'gates'>,
): (open: number) => number {
  const [cost, gates, blocks] = [costFrom(budget.cost), gatesOf(model, budget), blockGatesOf(settings)];
  return (open) => 1 - costAt(cost, gatesAt(gates, open, blocks)) / budget.intact;
}

export interface Sizes {
  /** The share of the prunable parameters that is gone. */
  prunableSparsity: number;
  parameters: number;
  /** The share of the intact model's multiply-adds for a token. */
  multiplyAddShare: number;
  /** The bytes of the weights in the model's own type. */
  bytes: number;
}

/** Estimates the sizes of a model whose gates are all open with one probability. Plans use it before the run has a state. */
export const sizesAt = (model: ModelShape, open: number, settings: Pick<RunSettings, 'gates'>): Sizes =>
  sizesOf(model, gatesAt(model, open, blockGatesOf(settings)), settings);

export function sizesOf(model: ModelShape, open: OpenGates, settings: Pick<RunSettings, 'gates'>): Sizes {
  const [prunable, weights] = [prunableCost(model, blockGatesOf(settings)), multiplyAddCost(model, { budgetContext: 0 })];
  const at = (cost: Cost): number => costAt(cost, open);
  return {
    prunableSparsity: 1 - at(prunable) / intactCost(prunable, model),
    parameters: at(parameterCost(model)),
    multiplyAddShare: at(weights) / intactCost(weights, model),
    bytes: at(byteCost(model, { targetBytes: 0, budgetContext: 0, budgetBatch: 1, budgetDtype: 'model', shapeTarget: 'free' })),
  };
}
