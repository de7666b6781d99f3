// Gives lines different looks: six colours and six kinds of strokes. No two of the first 36 lines look alike, and no two of the first six
// have the same strokes, for readers and printers without colour.

export const TONES = 6;
const DASHES: readonly (readonly number[])[] = [[], [8, 4], [2, 3], [12, 3, 2, 3], [18, 5], [7, 3, 2, 3, 2, 3]];

export interface Look {
  /** The number of the colour: 1 for --curve-1. */
  tone: number;
  /** The lengths of strokes and gaps in turn; empty for a line without gaps. */
  dash: readonly number[];
}

/** The colour in a drawing of the page. */
export const paintOf = (index: number): string => `var(--curve-${lookOf(index).tone})`;

export function lookOf(index: number): Look {
  return { tone: (index % TONES) + 1, dash: DASHES[(index + Math.floor(index / TONES)) % DASHES.length]! };
}
