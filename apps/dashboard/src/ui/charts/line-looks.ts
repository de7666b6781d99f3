// Gives lines different looks: six colours, and then different dashes. No two of the first 18 look alike.

export const TONES = 6;
const DASHES: readonly (readonly number[])[] = [[], [7, 4], [2, 3]];

export interface Look {
  /** The number of the colour: 1 for --curve-1. */
  tone: number;
  /** The lengths of strokes and gaps in turn; empty for a line without gaps. */
  dash: readonly number[];
}

export function lookOf(index: number): Look {
  return { tone: (index % TONES) + 1, dash: DASHES[Math.floor(index / TONES) % DASHES.length]! };
}
