// The setting layer_widths: what each layer keeps, chosen by a person or a program, in place of a target. All functions are pure.
import { BUDGET_NAMES, BUDGETS, type BudgetName } from '#comparison';
import { invalidField, type FieldViolation } from '#protocol';
import type { RunSettings } from '../record/pruning-run.events.js';
import { conflict, NO_LIBRARY, NO_WIDTHS } from './budget.js';
import { blockGatesOf } from './gates.js';
import { costAt, intactCost, openOf, prunableCost, type KeptParts, type ModelShape } from './model-cost.js';
import { prunesAtOnce } from './phases.js';

const refused = (description: string): FieldViolation[] => [{ field: 'settings.layer_widths', description, code: 'FIELD_OUT_OF_RANGE' }];

/** Returns what each layer keeps; null where the setting names no widths. The text must have the right form. */
export function keptByLayer({ layerWidths }: Pick<RunSettings, 'layerWidths'>): KeptParts[] | null {
  if (layerWidths === NO_WIDTHS) return null;
  return layerWidths.split(',').map((layer) => {
    const [heads = 0, units = 0] = layer.split('/').map(Number);
    return { heads, units };
  });
}

/** Reports a text of another form, a recipe whose masks learn, and a budget beside the widths. */
export function widthsViolations(settings: Pick<RunSettings, 'layerWidths' | 'library' | 'recipe' | BudgetName>): FieldViolation[] {
  const { layerWidths, library, recipe } = settings;
  if (library !== NO_LIBRARY && !prunesAtOnce(recipe)) {
    const description = `needs a recipe that prunes at once, such as fisher, not ${recipe}`;
    return [{ field: 'settings.library', description, code: 'FIELD_OUT_OF_RANGE' }];
  }
  if (layerWidths === NO_WIDTHS) return [];
  const wrong = layerWidths.split(',').find((layer) => !/^\d{1,9}\/\d{1,9}$/.test(layer));
  if (wrong !== undefined) return refused(`must be heads/units for each layer, separated by commas; "${wrong}" is not`);
  if (!prunesAtOnce(recipe)) return refused(`needs a recipe that prunes at once, not ${recipe}, whose masks learn the widths`);
  return BUDGET_NAMES.filter((name) => settings[name] > 0).map((name) => conflict(BUDGETS[name].field, 'layer_widths'));
}

/** Reports widths that the model can't have. */
export function widthsOfModelViolations(kept: readonly KeptParts[], { layers, heads, kvHeads, units }: ModelShape): FieldViolation[] {
  if (kept.length !== layers) return refused(`has ${kept.length} layers, but the model has ${layers}`);
  const together = heads / kvHeads;
  const at = kept.findIndex((one) => one.heads > heads || one.heads % together !== 0 || one.units > units);
  if (at < 0) return kept.some((one) => one.heads + one.units > 0) ? [] : refused('leaves no layer with a head or unit');
  const { heads: asked, units: askedUnits } = kept[at]!;
  const allowed = `0 to ${heads} heads${together > 1 ? ` in multiples of ${together}` : ''} and 0 to ${units} units`;
  return refused(`has ${asked}/${askedUnits} for layer ${at}; allowed are ${allowed}`);
}

/** Returns the share of the prunable parameters that the widths take away. */
export function sparsityOfWidths(kept: readonly KeptParts[], shape: ModelShape, settings: Pick<RunSettings, 'gates'>): number {
  const cost = prunableCost(shape, blockGatesOf(settings));
  return 1 - costAt(cost, openOf(kept, shape)) / intactCost(cost, shape);
}

/** A run's own share, as a person copies it, differs from the widths' by its rounding. */
const SAME_SHARE = 1e-4;

/** @throws EspalierError where a request names a sparsity beside the widths, which decide it */
export function requireNoTarget(targetSparsity: number | undefined, ofWidths: number): void {
  if (targetSparsity === undefined || Math.abs(targetSparsity - ofWidths) < SAME_SHARE) return;
  throw invalidField(
    'BUDGETS_CONFLICT',
    'settings.target_sparsity',
    `is ${targetSparsity}, but layer_widths take away ${ofWidths.toFixed(4)} of the prunable parameters: name one of the two`,
  );
}
