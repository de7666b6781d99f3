// Tells which heads, units and hidden units of a state are open whose masks are rounded group by group (MASK_ROUNDING_GROUPS). They follow
// from its log-alphas, so a state can be compared with the record.
import { openProbability } from '../../src/pruning-run/method/gates.js';
import type { OpenUnits } from '../../src/queries/masks/open-units.js';
import { headerOf, valuesOf } from '../../src/verification/replay/state-file.js';

export function openUnitsOf(stateFile: Uint8Array): OpenUnits {
  const headerBytes = Number(Buffer.from(stateFile).readBigUInt64LE());
  const tensors = headerOf(stateFile.subarray(8, 8 + headerBytes));
  const openIn = (name: string): Set<number>[] => {
    const tensor = tensors.get(name);
    if (tensor === undefined) return [];
    const { dtype, shape, from, bytes } = tensor;
    const values = valuesOf(
      name,
      dtype,
      Uint8Array.from(stateFile.subarray(8 + headerBytes + from, 8 + headerBytes + from + bytes)).buffer,
    );
    const width = shape.at(-1)!;
    return Array.from({ length: values.length / width }, (_, layer) => openOf(values.subarray(layer * width, (layer + 1) * width)));
  };
  return { heads: openIn('mask.head'), units: openIn('mask.intermediate'), hidden: openIn('mask.hidden')[0] ?? new Set() };
}

/** The open gates of a group. The round(n - sum of probabilities) smallest log-alphas are closed, the first ones among equals. */
function openOf(logAlpha: Float32Array | Float64Array): Set<number> {
  let expectedOpen = 0;
  for (const value of logAlpha) expectedOpen += openProbability(value);
  const closed = Math.min(Math.max(roundHalfToEven(logAlpha.length - expectedOpen), 0), logAlpha.length);
  const order = Array.from(logAlpha.keys()).sort((left, right) => logAlpha[left]! - logAlpha[right]! || left - right);
  return new Set(order.slice(closed).sort((left, right) => left - right));
}

function roundHalfToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}
