import { layerSparsities } from './layer-sparsity.js';

const HIDDEN = 64;
const HEAD_SIZE = 16;
const UNITS = 100;
const layers = Array.from({ length: 2 }, () => ({ heads: 4, units: UNITS }));

/** Computes the sparsities of two layers with the given open heads and units, by the definition and by the function. */
function pruned(keyValueHeads: number, headsOpen: number[], unitsOpen: number[], hiddenOpen: number) {
  const isGrouped = keyValueHeads < 4;
  const head = (isGrouped ? 2 : 4) * HIDDEN * HEAD_SIZE;
  const stable = isGrouped ? 2 * HIDDEN * HEAD_SIZE * keyValueHeads : 0;
  const layerSize = 4 * head + 3 * HIDDEN * UNITS + stable;
  const left = (layer: number): number => (headsOpen[layer]! * head + unitsOpen[layer]! * 3 * HIDDEN) * (hiddenOpen / HIDDEN) + stable;
  const hardSparsity = 1 - (left(0) + left(1)) / (2 * layerSize);
  const computed = layerSparsities(
    { layers, hiddenSize: HIDDEN, prunableParameterCount: 2 * layerSize },
    { headsOpen, unitsOpen, hiddenOpen, hardSparsity },
  );
  return { computed, defined: [1 - left(0) / layerSize, 1 - left(1) / layerSize] };
}

test.each([
  ['each head with its own keys and values', 4, [1, 4], [100, 30], 64],
  ['grouped queries', 2, [1, 4], [100, 30], 64],
  ['grouped queries and closed hidden units', 1, [0, 3], [10, 100], 48],
  ['no head closed', 2, [4, 4], [10, 100], 64],
  ['nothing closed', 2, [4, 4], [100, 100], 64],
])('%s: each layer has lost what the definition says', (_, keyValueHeads, headsOpen, unitsOpen, hiddenOpen) => {
  const { computed, defined } = pruned(keyValueHeads, headsOpen, unitsOpen, hiddenOpen);
  computed.forEach((value, layer) => expect(value).toBeCloseTo(defined[layer]!, 12));
});
