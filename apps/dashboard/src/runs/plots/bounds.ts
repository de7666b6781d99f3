// The bounds that a reader marks in a plot of runs, as conditions of the list.

export interface Bounds {
  name: string;
  low: number;
  high: number;
  /** Whether runs have these very values, as those of a setting: a condition takes only values that the setting allows. */
  isExact?: boolean;
}

/** Narrows the bounds of a setting to the values that runs have between them. */
export function narrowed(bounds: Bounds, values: readonly number[]): Bounds {
  const between = values.filter((value) => value >= bounds.low && value <= bounds.high);
  return between.length === 0 ? bounds : { ...bounds, low: Math.min(...between), high: Math.max(...between), isExact: true };
}

/** The conditions that hold between two values of each figure; these replace older ones on the same figures. */
export function withBounds(where: readonly string[], bounds: readonly Bounds[]): string[] {
  const rounded = (value: number, isExact: boolean): number => (isExact ? value : Number(value.toPrecision(4)));
  return [
    ...withoutBounds(
      where,
      bounds.map(({ name }) => name),
    ),
    ...bounds.flatMap(({ name, low, high, isExact = false }) => [
      `${name}>=${rounded(low, isExact)}`,
      `${name}<=${rounded(high, isExact)}`,
    ]),
  ];
}

export const withoutBounds = (where: readonly string[], names: readonly string[]): string[] =>
  where.filter(
    (one) => !names.some((name) => [`${name}>=`, `${name}<=`].some((bound) => one.replace(/\s*([<>]=)\s*/, '$1').startsWith(bound))),
  );
