/** One line of a chart. */
export interface Curve {
  label: string;
  /** The number of its colour: --curve-1 and on. */
  tone: number;
  values: (number | null)[];
  lowest?: (number | null)[];
  highest?: (number | null)[];
  dashed?: boolean;
  /** Not every point has a value: the line goes on to the next that has. */
  spans?: boolean;
}
