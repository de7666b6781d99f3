// The bounds that a reader marks in a plot of runs, as conditions of the list.

/** The conditions that hold between two values of each figure; these replace older ones on the same figures. */
export function withBounds(where: readonly string[], bounds: readonly { name: string; low: number; high: number }[]): string[] {
  const rounded = (value: number): number => Number(value.toPrecision(4));
  return [
    ...withoutBounds(
      where,
      bounds.map(({ name }) => name),
    ),
    ...bounds.flatMap(({ name, low, high }) => [`${name}>=${rounded(low)}`, `${name}<=${rounded(high)}`]),
  ];
}

export const withoutBounds = (where: readonly string[], names: readonly string[]): string[] =>
  where.filter(
    (one) => !names.some((name) => [`${name}>=`, `${name}<=`].some((bound) => one.replace(/\s*([<>]=)\s*/, '$1').startsWith(bound))),
  );
