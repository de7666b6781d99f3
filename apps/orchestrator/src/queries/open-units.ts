// Which heads, units and hidden units a state keeps: the deterministic masks, as the engine makes them from log-alphas.
// (Which ones are open is all that is needed here; their soft values are the engine's business.)
import type { StateTensor } from './state-file.js';

const LOW = -0.1;
const HIGH = 1.1;
const TEMPERATURE = 2 / 3;
const EPSILON = 1e-6;

export const MASK_TENSORS = ['mask.head', 'mask.intermediate', 'mask.hidden'];

export interface OpenUnits {
  /** By layer. */
  heads: Set<number>[];
  units: Set<number>[];
  hidden: Set<number>;
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

/** The round(n - sum of probabilities) smallest log-alphas are closed; of equal ones the first. */
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
