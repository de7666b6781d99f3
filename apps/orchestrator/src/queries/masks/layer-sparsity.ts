// Computes how much of each layer is gone.
import type { Budget, ModelIdentity } from '../../pruning-run/record/pruning-run.events.js';

export interface OpenParts {
  headsOpen: number[];
  unitsOpen: number[];
  hiddenOpen: number;
  hardSparsity: number;
}

/**
 * For each layer, the share of its projections' parameters that is gone. The mean of the shares is the hard sparsity. A unit is three rows
 * of the hidden size. The record does not hold the size of a head, which is smaller with grouped queries. It follows from the hard
 * sparsity, to which heads and units add up. With a budget, the hard sparsity is a share of the budget's cost, and the record holds how
 * much a head costs compared with a unit. All layers of a model that is pruned have one shape.
 */
export function layerSparsities(
  { layers, hiddenSize, prunableParameterCount }: Pick<ModelIdentity, 'layers' | 'hiddenSize' | 'prunableParameterCount'>,
  { headsOpen, unitsOpen, hiddenOpen, hardSparsity }: OpenParts,
  budget?: Pick<Budget, 'setting' | 'cost' | 'kvHeads'>,
): number[] {
  const share = hiddenOpen / hiddenSize;
  const gone = layers.map(({ heads, units }, layer) => ({
    heads: heads - share * (headsOpen[layer] ?? 0),
    units: units - share * (unitsOpen[layer] ?? 0),
  }));
  const all = gone.reduce((sum, one) => ({ heads: sum.heads + one.heads, units: sum.units + one.units }));
  const [first = { heads: 1, units: 0 }] = layers;
  const unitSize = 3 * hiddenSize;
  const bySparsity = (): number => (all.heads === 0 ? 0 : (hardSparsity * prunableParameterCount - all.units * unitSize) / all.heads);
  const layerSize = prunableParameterCount / layers.length;
  // A cost in seconds says nothing about sizes. A head is then its share of the layer's parameters outside the units.
  const headSize =
    budget === undefined
      ? bySparsity()
      : budget.setting === 'targetSpeedup'
        ? (layerSize - first.units * unitSize) / first.heads
        : headSizeByCost(budget, first.heads, unitSize);
  return gone.map(({ heads, units }) => (heads * headSize + units * unitSize) / layerSize);
}

/** Without groups, a head's keys and values go with it. They have as many parameters as its queries and outputs. */
function headSizeByCost(
  { cost: [head = 0, unit = 1], kvHeads }: Pick<Budget, 'cost' | 'kvHeads'>,
  heads: number,
  unitSize: number,
): number {
  return ((head * unitSize) / unit) * (heads === kvHeads ? 2 : 1);
}
