// Writes sizes of memory and files in words.

/** Returns a text like "1.50 GiB", "658.8 MiB" or "12 B". */
export function byteWords(value: number | bigint): string {
  const number = Number(value);
  for (const [limit, unit] of [
    [2 ** 40, 'TiB'],
    [2 ** 30, 'GiB'],
    [2 ** 20, 'MiB'],
    [2 ** 10, 'KiB'],
  ] as const) {
    if (number >= limit) return `${(number / limit).toFixed(number / limit < 10 ? 2 : 1)} ${unit}`;
  }
  return `${number} B`;
}
