// Tests what a library chooses for each layer, against every choice that there is.
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { LayerScan } from '../pruning-run/record/pruning-run.events.js';
import { budgetsOf } from '../pruning-run/method/budget.js';
import { keptByLayer } from '../pruning-run/method/layer-widths.js';
import {
  costAt,
  intactCost,
  multiplyAddCost,
  openOf,
  parameterCost,
  prunableCost,
  type KeptParts,
} from '../pruning-run/method/model-cost.js';
import { blockGatesOf } from '../pruning-run/method/gates.js';
import { resolveSettings, settingsViolations, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { groupedShape as shape, launched, segment, stateAt, Story } from '../pruning-run/testing.js';
import { Libraries } from './library.js';

const ASKED: RequestedSettings = { preset: 'fisher', recipe: 'fisher', library: 'layers', gates: ['head', 'unit', 'hidden', 'kv-group'] };
const WIDTHS = { heads: [8, 4, 0], units: [160, 80, 32, 0] };

/** The score of a form: what it closes, unevenly over layers and parts. One is below 0, as a small loss can be by chance. */
function score(layer: number, attention: boolean, kept: number): number {
  if (kept === (attention ? 8 : 160)) return 0;
  if (layer === 1 && kept === 80) return -0.001;
  return (attention ? 0.3 * (8 - kept) : 0.011 * (160 - kept)) / (1 + layer) ** 1.5;
}

const scanOf = (layer: number): LayerScan => ({
  layer,
  forms: [true, false].flatMap((attention) =>
    WIDTHS[attention ? 'heads' : 'units'].slice(1).map((kept) => ({ attention, kept, kl: score(layer, attention, kept), loss: 0 })),
  ),
});

function scanned(layers: number, requested: RequestedSettings = { recipe: 'scan' }): PruningRunState {
  const story = new Story(launched(requested)).start();
  for (let layer = 0; layer < layers; layer++) story.when({ ...segment(layer, stateAt(layer + 1, 0)), scans: [scanOf(layer)] });
  return story.state;
}

const libraries = (run: PruningRunState): Libraries =>
  new Libraries({ load: () => Promise.resolve(run) } as never, { runId: () => Promise.resolve(run.runId) } as never);

/** Every choice, with the sum of its scores. */
function everyChoice(): { kept: KeptParts[]; kl: number }[] {
  let choices: { kept: KeptParts[]; kl: number }[] = [{ kept: [], kl: 0 }];
  for (let layer = 0; layer < shape.layers; layer++)
    choices = choices.flatMap(({ kept, kl }) =>
      WIDTHS.heads.flatMap((heads) =>
        WIDTHS.units.map((units) => ({
          kept: [...kept, { heads, units }],
          kl: kl + score(layer, true, heads) + score(layer, false, units),
        })),
      ),
    );
  return choices;
}

const leastWithin = (fits: (kept: KeptParts[]) => boolean): number =>
  Math.min(
    ...everyChoice()
      .filter(({ kept }) => fits(kept))
      .map(({ kl }) => kl),
  );
const lossOf = (kept: readonly KeptParts[]): number =>
  kept.reduce((sum, { heads, units }, layer) => sum + score(layer, true, heads) + score(layer, false, units), 0);

test('a library chooses the forms that keep the target and lose least, of all that there are', async () => {
  const library = libraries(scanned(3));
  const prunable = prunableCost(shape, blockGatesOf({ gates: ASKED.gates! }));
  for (const targetSparsity of [0.1, 0.37, 0.6, 0.9]) {
    const most = (1 - targetSparsity) * intactCost(prunable, shape);
    const chosen = await library.withWidths({ ...ASKED, targetSparsity }, shape, () => Promise.resolve([]));
    expect(chosen).toMatchObject({ library: 'aaaabbbbcccc', targetSparsity: undefined });
    const kept = keptByLayer(resolveSettings(chosen))!;
    expect(costAt(prunable, openOf(kept, shape))).toBeLessThanOrEqual(most);
    expect(lossOf(kept)).toBeCloseTo(
      leastWithin((each) => costAt(prunable, openOf(each, shape)) <= most),
      9,
    );
  }
});

test('it keeps a budget, whose place the widths take', async () => {
  const cost = parameterCost(shape);
  const targetParams = Math.round(0.6 * intactCost(cost, shape));
  const asked = { ...ASKED, targetParams };
  const chosen = await libraries(scanned(3)).withWidths(asked, shape, () => Promise.resolve(budgetsOf(resolveSettings(asked), shape)));
  expect(chosen.targetParams).toBeUndefined();
  const kept = keptByLayer(resolveSettings(chosen))!;
  expect(costAt(cost, openOf(kept, shape))).toBeLessThanOrEqual(targetParams);
  expect(lossOf(kept)).toBeCloseTo(
    leastWithin((each) => costAt(cost, openOf(each, shape)) <= targetParams),
    9,
  );
});

test('it keeps several targets together', async () => {
  const cost = parameterCost(shape);
  const prunable = prunableCost(shape, blockGatesOf({ gates: ASKED.gates! }));
  const targetParams = Math.round(0.75 * intactCost(cost, shape));
  const targetMacs = 0.7;
  const asked = { ...ASKED, targetParams, targetMacs, targetSparsity: 0.3 };
  const budgets = budgetsOf(resolveSettings(asked), shape);
  expect(budgets.map(({ setting }) => setting)).toEqual(['targetParams', 'targetMacs']);
  const chosen = await libraries(scanned(3)).withWidths(asked, shape, () => Promise.resolve(budgets));
  expect(chosen).toMatchObject({ targetParams: undefined, targetMacs: undefined, targetSparsity: undefined });
  const macs = multiplyAddCost(shape, { budgetContext: 0 });
  const fits = (kept: readonly KeptParts[]): boolean => {
    const open = openOf(kept, shape);
    return (
      costAt(cost, open) <= targetParams &&
      costAt(macs, open) <= targetMacs * intactCost(macs, shape) &&
      costAt(prunable, open) <= 0.7 * intactCost(prunable, shape)
    );
  };
  const kept = keptByLayer(resolveSettings(chosen))!;
  expect(fits(kept)).toBe(true);
  expect(lossOf(kept)).toBeCloseTo(leastWithin(fits), 9);
});

const same = (numbers: number[]): boolean => new Set(numbers).size <= 1;
test.each<[shapeTarget: 'gguf' | 'vllm' | 'uniform', suits: (kept: readonly KeptParts[]) => boolean]>([
  ['gguf', (kept) => kept.every(({ units }) => units % 32 === 0)],
  ['vllm', (kept) => kept.every(({ heads, units }, layer) => units % 32 === 0 && (heads === 8 || (heads === 0 && layer > 0)))],
  [
    'uniform',
    (kept) => {
      const left = kept.filter(({ heads, units }) => heads + units > 0);
      const whole = left.every(({ heads, units }) => heads > 0 && units > 0 && units % 32 === 0);
      return whole && same(left.map(({ heads }) => heads)) && same(left.map(({ units }) => units));
    },
  ],
])('shapes for %s are kept, and the best such choice is taken', async (shapeTarget, suits) => {
  const cost = parameterCost(shape);
  for (const share of [0.9, 0.75, 0.6]) {
    const targetParams = Math.round(share * intactCost(cost, shape));
    const asked: RequestedSettings = { ...ASKED, targetParams, shapeTarget };
    expect(settingsViolations(resolveSettings(asked))).toEqual([]);
    const budgets = budgetsOf(resolveSettings(asked), shape);
    const chosen = await libraries(scanned(3)).withWidths(asked, shape, () => Promise.resolve(budgets));
    expect(chosen.shapeTarget).toBeUndefined(); // the widths have the shapes
    const kept = keptByLayer(resolveSettings(chosen))!;
    expect(suits(kept)).toBe(true);
    const fits = (each: KeptParts[]): boolean => suits(each) && costAt(cost, openOf(each, shape)) <= targetParams;
    expect(lossOf(kept)).toBeCloseTo(leastWithin(fits), 9);
  }
});

test('further choices for a share are the next best of those that differ, and a share is solved once', async () => {
  const run = scanned(3);
  const library = libraries(run);
  const points = await library.frontier(run, shape, { shares: [0.6, 0.6], choices: 5, shapeTarget: 'free' });
  const cost = parameterCost(shape);
  const within = everyChoice()
    .filter(({ kept }) => costAt(cost, openOf(kept, shape)) <= 0.6 * intactCost(cost, shape))
    .map(({ kl }) => kl);
  const best = within.sort((left, right) => left - right).slice(0, 5);
  expect(points.map(({ kl }) => kl)).toEqual(best.map((kl) => expect.closeTo(kl, 9)));
  expect(new Set(points.map(({ layerWidths }) => layerWidths)).size).toBe(5);
  expect(await library.frontier(run, shape, { shares: [0.6], choices: 5, shapeTarget: 'free' })).toEqual(points);
  for (const { kl, layerWidths } of points) expect(library.predicted(run, shape, { layerWidths })).toBeCloseTo(kl, 9);
  expect(library.predicted(run, shape, { layerWidths: '8/160,8/160,7/160' })).toBeNull(); // no scored form has 7 heads
});

test('a request without a library, or with widths of its own, stays as it is', async () => {
  for (const asked of [
    { ...ASKED, library: 'none' },
    { ...ASKED, layerWidths: '8/160,8/160,4/80' },
  ])
    expect(await libraries(scanned(3)).withWidths(asked, shape, () => Promise.resolve([]))).toBe(asked);
});

test('the frontier has the best choice for each share of the parameters, and leaves out shares that are too small', async () => {
  const run = scanned(3);
  const points = await libraries(run).frontier(run, shape, { shares: [1, 0.8, 0.6, 0.6, 0.05], choices: 1, shapeTarget: 'free' });
  const cost = parameterCost(shape);
  expect(points.map(({ kl }) => kl)).toEqual(
    [1, 0.8, 0.6].map((share) =>
      expect.closeTo(
        leastWithin((kept) => costAt(cost, openOf(kept, shape)) <= share * intactCost(cost, shape)),
        9,
      ),
    ),
  );
  for (const { kept, parameters } of points) expect(parameters).toBe(costAt(cost, openOf(kept, shape)));
});

test.each<[string, PruningRunState, Partial<typeof shape>]>([
  ['a run of another recipe', scanned(3, { recipe: 'distill' }), {}],
  ['a scan that is not whole', scanned(2), {}],
  ['a scan of another model', scanned(3), { units: 320 }],
])('%s is no library', async (_, run, change) => {
  const asked = libraries(run).withWidths({ ...ASKED, targetSparsity: 0.5 }, { ...shape, ...change }, () => Promise.resolve([]));
  await expect(asked).rejects.toMatchObject({ code: 'LIBRARY_UNFIT', violations: [{ field: 'settings.library' }] });
});
