// How much of each layer is gone.
import type { Budget, ModelIdentity } from '../pruning-run/record/pruning-run.events.js';

export interface OpenParts {
  headsOpen: number[];
  unitsOpen: number[];
  hiddenOpen: number;
  hardSparsity: number;
}

/**
 * For each layer, the share of its projections' parameters that is gone; their mean is the hard sparsity. A unit is three rows of the
 * hidden size. The record does not hold a head's size, which grouped queries make smaller: it follows from the hard sparsity, to which
 * heads and units add up. With a budget the hard sparsity is of its cost, and the record holds what a head costs beside a unit. The
 * layers of a model that is pruned are all of one shape.
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
  const unitSize = 3 * hiddenSize;
  const bySparsity = (): number => (all.heads === 0 ? 0 : (hardSparsity * prunableParameterCount - all.units * unitSize) / all.heads);
  const layerSize = prunableParameterCount / layers.length;
  // Seconds say nothing of sizes: then a head is its share of what a layer has beside its units.
  const headSize =
    budget === undefined
      ? bySparsity()
      : budget.setting === 'targetSpeedup'
        ? (layerSize - layers[0]!.units * unitSize) / layers[0]!.heads
        : headSizeByCost(budget, layers[0]!.heads, unitSize);
  return gone.map(({ heads, units }) => (heads * headSize + units * unitSize) / layerSize);
}

/** Without groups the head's keys and values go with it, as many parameters as its queries and outputs. */
function headSizeByCost(
  { cost: [head = 0, unit = 1], kvHeads }: Pick<Budget, 'cost' | 'kvHeads'>,
  heads: number,
  unitSize: number,
): number {
  return ((head * unitSize) / unit) * (heads === kvHeads ? 2 : 1);
}
