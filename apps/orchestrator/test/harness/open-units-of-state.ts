// Tells which heads, units and hidden units of a state are open whose masks are rounded group by group (MASK_ROUNDING_GROUPS). They follow
// from its log-alphas, so a state can be compared with the record.
import type { OpenUnits } from '../../src/queries/masks/open-units.js';
import { readStateFile, type StateTensor } from '../../src/queries/masks/state-file.js';

const LOW = -0.1;
const HIGH = 1.1;
const TEMPERATURE = 2 / 3;
const EPSILON = 1e-6;

export function openUnitsOf(stateFile: Uint8Array): OpenUnits {
  const state = readStateFile(stateFile);
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
