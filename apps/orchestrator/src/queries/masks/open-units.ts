// Tells which heads, units and hidden units are open, by the recorded masks.
import { gatesIn, type Gates } from '#audit';
import type { ModelIdentity } from '../../pruning-run/record/pruning-run.events.js';

export interface OpenUnits {
  /** The open heads of each layer; then the open units of each layer. */
  heads: Set<number>[];
  units: Set<number>[];
  hidden: Set<number>;
}

export function unitsOfGates({ layers, hiddenSize }: Pick<ModelIdentity, 'layers' | 'hiddenSize'>, gates: Gates): OpenUnits {
  let first = 0;
  const next = (size: number): Set<number> => {
    const from = first;
    first += size;
    return new Set(Array.from(gatesIn(gates, from, first), (gate) => gate - from));
  };
  return { heads: layers.map(({ heads }) => next(heads)), units: layers.map(({ units }) => next(units)), hidden: next(hiddenSize) };
}
