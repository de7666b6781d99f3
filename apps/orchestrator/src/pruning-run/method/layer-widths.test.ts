// Tests which widths of layers a run may name, and which target they stand for.
import { llamaShape } from '../testing.js';
import { keptByLayer, requireNoTarget, sparsityOfWidths, widthsOfModelViolations } from './layer-widths.js';
import type { KeptParts } from './model-cost.js';
import { resolveSettings, settingsViolations, type RequestedSettings } from './run-settings.js';

const shape = llamaShape({ layers: 2, heads: 4, kvHeads: 2, units: 10, hiddenSize: 16, headDim: 4, vocabularySize: 100 }, false);
const fisher = { preset: 'fisher', recipe: 'fisher' as const };
const refusals = (settings: RequestedSettings): string[] =>
  settingsViolations(resolveSettings({ ...fisher, ...settings })).map(({ field, code }) => `${field} ${code}`);
const kept = (layerWidths: string): KeptParts[] => keptByLayer({ layerWidths })!;

test('widths are heads and units of each layer, for a recipe that prunes at once and has no budget', () => {
  expect(keptByLayer(resolveSettings(fisher))).toBeNull();
  expect(kept('4/10,2/0')).toEqual([
    { heads: 4, units: 10 },
    { heads: 2, units: 0 },
  ]);
  expect(refusals({ layerWidths: '4/10,2/0' })).toEqual([]);
  for (const wrong of ['', '4', '4/10,', '4/10;2/0', '-4/1,2/2', '4/1e3', 'uniform'])
    expect(refusals({ layerWidths: wrong })).toEqual(['settings.layer_widths FIELD_OUT_OF_RANGE']);
  expect(refusals({ layerWidths: '4/10', recipe: 'distill', totalSteps: 10 })).toEqual(['settings.layer_widths FIELD_OUT_OF_RANGE']);
  expect(refusals({ layerWidths: '4/10', targetParams: 100 })).toEqual(['settings.target_params BUDGETS_CONFLICT']);
});

test('a model has as many layers, whole groups of heads, and something that is left', () => {
  const wrong = (text: string): boolean => widthsOfModelViolations(kept(text), shape).length > 0;
  expect(['4/10,2/0', '0/1,0/0', '4/10,4/10'].map(wrong)).toEqual([false, false, false]);
  expect(['4/10', '4/10,4/10,4/10', '3/10,4/10', '6/10,4/10', '4/10,4/11', '0/0,0/0'].map(wrong)).toEqual(Array(6).fill(true));
});

test('they stand for the share of the prunable parameters that they take away', () => {
  const gates = ['head', 'unit', 'hidden', 'kv-group'];
  const projections = 2 * 4 * 16; // of a query head, and of a key/value head
  const layer = 4 * projections + 2 * projections + 10 * 3 * 16;
  expect(sparsityOfWidths(kept('4/10,4/10'), shape, { gates })).toBe(0);
  expect(sparsityOfWidths(kept('2/10,4/7'), shape, { gates })).toBeCloseTo((3 * projections + 3 * 48) / (2 * layer), 12);
  expect(() => requireNoTarget(undefined, 0.4)).not.toThrow();
  expect(() => requireNoTarget(0.4, 0.4 + 1e-6)).not.toThrow(); // a repetition of the run names both
  expect(() => requireNoTarget(0.5, 0.4)).toThrow(expect.objectContaining({ code: 'BUDGETS_CONFLICT' }) as Error);
});
