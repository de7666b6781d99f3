// Writes sizes of memory and files in words.
import { BINARY_UNITS } from './units.js';

/** Returns a text like "1.50 GiB", "658.8 MiB" or "12 B". */
export function byteWords(value: number | bigint): string {
  const number = Number(value);
  for (const [limit, unit] of BINARY_UNITS) {
    if (number >= limit) return `${(number / limit).toFixed(number / limit < 10 ? 2 : 1)} ${unit}`;
  }
  return `${number} B`;
}
