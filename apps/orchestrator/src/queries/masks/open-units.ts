// Tells which heads, units and hidden units are open: by recorded masks, or by the states of runs from before masks were recorded. The
// deterministic masks of these states follow from their log-alphas, rounded group by group as in the engine. (Only the engine needs their
// soft values.)
import type { Gates } from '#audit';
import type { ModelIdentity } from '../../pruning-run/record/pruning-run.events.js';
import type { StateTensor } from './state-file.js';

const LOW = -0.1;
const HIGH = 1.1;
const TEMPERATURE = 2 / 3;
const EPSILON = 1e-6;

export const MASK_TENSORS = ['mask.head', 'mask.intermediate', 'mask.hidden'];

export interface OpenUnits {
  /** The open heads of each layer; then the open units of each layer. */
  heads: Set<number>[];
  units: Set<number>[];
  hidden: Set<number>;
}

/** Tells whether the state's masks are rounded group by group. The masks of other states are recorded. */
export const roundsByGroup = (state: Map<string, StateTensor>): boolean =>
  !['exact_size', 'shape', 'mask.kv_group', 'mask.attention', 'mask.mlp'].some((tensor) => state.has(tensor));

export function unitsOfGates({ layers, hiddenSize }: Pick<ModelIdentity, 'layers' | 'hiddenSize'>, gates: Gates): OpenUnits {
  let first = 0;
  const next = (size: number): Set<number> => {
    const open = new Set<number>();
    for (let gate = 0; gate < size; gate++) if (gates[(first + gate) >> 3]! & (1 << ((first + gate) & 7))) open.add(gate);
    first += size;
    return open;
  };
  return { heads: layers.map(({ heads }) => next(heads)), units: layers.map(({ units }) => next(units)), hidden: next(hiddenSize) };
}

export function openUnits(state: Map<string, StateTensor>): OpenUnits {
  return {
    heads: openByLayer(state.get('mask.head')),
    units: openByLayer(state.get('mask.intermediate')),
    hidden: openByLayer(state.get('mask.hidden'))[0] ?? new Set(),
  };
}

function openByLayer(tensor: StateTensor | undefined): Set<number>[] {
  if (tensor === undefined) return [];
  const width = tensor.shape.at(-1)!;
  return Array.from({ length: tensor.values.length / width }, (_, layer) =>
    openOf(tensor.values.subarray(layer * width, (layer + 1) * width)),
  );
}

/** The open gates of a group. The round(n - sum of probabilities) smallest log-alphas are closed, the first ones among equals. */
function openOf(logAlpha: Float32Array | Float64Array): Set<number> {
  let expectedOpen = 0;
  for (const value of logAlpha) expectedOpen += openProbability(value);
  const closed = Math.min(Math.max(roundHalfToEven(logAlpha.length - expectedOpen), 0), logAlpha.length);
  const order = Array.from(logAlpha.keys()).sort((left, right) => logAlpha[left]! - logAlpha[right]! || left - right);
  return new Set(order.slice(closed).sort((left, right) => left - right));
}

function openProbability(logAlpha: number): number {
  const closed = 1 / (1 + Math.exp(-(TEMPERATURE * Math.log(-LOW / HIGH) - logAlpha)));
  return 1 - Math.min(Math.max(closed, EPSILON), 1 - EPSILON);
}

function roundHalfToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}
