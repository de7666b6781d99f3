// Measures how far two states are apart, tensor by tensor.
import { readStateFile } from '../../queries/masks/state-file.js';

export interface TensorDifference {
  name: string;
  maxAbs: number;
  /** The largest difference as a share of the larger of the two values. */
  maxRel: number;
}

/** The tensors that differ, in the order of the file. The list is empty for equal states. */
export function stateDifferences(recorded: Uint8Array, computed: Uint8Array): TensorDifference[] {
  const left = readStateFile(recorded);
  const right = readStateFile(computed);
  const differences: TensorDifference[] = [];
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const one = left.get(name)?.values;
    const other = right.get(name)?.values;
    if (one === undefined || other === undefined || one.length !== other.length) {
      differences.push({ name, maxAbs: Infinity, maxRel: Infinity });
      continue;
    }
    const difference = { name, maxAbs: 0, maxRel: 0 };
    for (let index = 0; index < one.length; index += 1) widen(difference, one[index]!, other[index]!);
    if (difference.maxAbs > 0) differences.push(difference);
  }
  return differences;
}

function widen(difference: TensorDifference, left: number, right: number): void {
  if (Object.is(left, right) || left === right) return;
  const absolute = Math.abs(left - right);
  const size = Math.max(Math.abs(left), Math.abs(right));
  difference.maxAbs = Math.max(difference.maxAbs, Number.isNaN(absolute) ? Infinity : absolute);
  difference.maxRel = Math.max(difference.maxRel, Number.isNaN(absolute) ? Infinity : absolute / size);
}
