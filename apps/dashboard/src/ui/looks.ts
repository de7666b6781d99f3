// Lines are told apart by six colours and, beyond these, by how they are dashed: no two of the first 18 look alike.

export const TONES = 6;
const DASHES: readonly (readonly number[])[] = [[], [7, 4], [2, 3]];

export interface Look {
  /** The number of its colour: --curve-1 and on. */
  tone: number;
  /** Lengths of strokes and gaps in turn; empty for a line without gaps. */
  dash: readonly number[];
}

export function lookOf(index: number): Look {
  return { tone: (index % TONES) + 1, dash: DASHES[Math.floor(index / TONES) % DASHES.length]! };
}
