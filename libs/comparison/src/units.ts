// The units of amounts, as people type them and as programs show them: the largest first.

export const BINARY_UNITS = [
  [2 ** 40, 'TiB'],
  [2 ** 30, 'GiB'],
  [2 ** 20, 'MiB'],
  [2 ** 10, 'KiB'],
] as const;

export const DECIMAL_PREFIXES = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
  [1, ''],
] as const;

export const DECIMAL_BYTES = DECIMAL_PREFIXES.map(([scale, prefix]) => [scale, `${prefix}B`] as const);
