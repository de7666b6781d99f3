// Reads numbers as people type them for a setting: "0.5", "50%", "2/3", "2.1M" parameters, "2.5GiB".
import { BINARY_UNITS, DECIMAL_BYTES, DECIMAL_PREFIXES } from './units.js';

/** Reads no difference between small letters and capitals. */
const scalesOf = (units: readonly (readonly [number, string])[]): Record<string, number> =>
  Object.fromEntries(units.map(([scale, name]) => [name.toLowerCase(), scale]));

/** The suffixes of amounts, by unit. */
const SCALES: Record<string, Record<string, number>> = {
  parameters: { ...scalesOf(DECIMAL_PREFIXES), b: 1e9 },
  bytes: { '': 1, ...scalesOf(DECIMAL_BYTES), ...scalesOf(BINARY_UNITS) },
};

/** The unit of times, which people write as 90s, 10m or 2h. */
const TIME = 'time';
const TIMES: readonly (readonly [number, string])[] = [
  [3600, 'h'],
  [60, 'm'],
  [1, 's'],
];

/** Tells whether a number of this unit may have a suffix, as in 2.1M. */
export const hasSuffixes = (unit: string): boolean => SCALES[unit] !== undefined || unit === TIME;

/** Only 0 is written without a suffix, since a bare number could be seconds or minutes. */
function timeOf(text: string): number {
  const [, digits = '', suffix = ''] = /^(\d+(?:\.\d+)?) ?([smh])$/.exec(text.trim()) ?? [];
  const scale = TIMES.find(([, name]) => name === suffix)?.[0];
  if (scale === undefined && text.trim() !== '0') throw new RangeError('A time is allowed, e.g. 90s, 10m or 2h.');
  return Number(digits) * (scale ?? 0);
}

/** Returns a time as people write it: 90s, 10m, 2h. */
export function timeWords(seconds: number): string {
  const [scale, name] = TIMES.find(([one]) => seconds >= one && seconds % one === 0) ?? TIMES.at(-1)!;
  return `${seconds / scale}${name}`;
}

/** An amount is a count. One with a suffix is rounded to it, since 0.3GiB is not a whole number of bytes. */
function amountOf(unit: string, scales: Record<string, number>, text: string): number {
  const [, digits = '', suffix = ''] = /^(\d[\d_]*(?:\.\d+)?(?:e\+?\d{1,2})?) ?([a-z]*)$/i.exec(text.trim()) ?? [];
  const scale = scales[suffix.toLowerCase()];
  const amount = Number(digits.replaceAll('_', '')) * (scale ?? Number.NaN);
  if (digits === '' || !(suffix === '' ? Number.isInteger(amount) : Number.isFinite(amount)))
    throw new RangeError(`A whole number of ${unit} is allowed, e.g. ${unit === 'bytes' ? '2.5GiB or 800MB' : '1.1e9 or 2.1M'}.`);
  return Math.round(amount);
}

/**
 * Reads a number. A share may be a percentage; fractions are allowed because 2/3 can't be written as a decimal. @throws RangeError that
 * says what is allowed
 */
export function typedNumber({ share, unit }: { share: boolean; unit: string }, text: string): number {
  if (unit === TIME) return timeOf(text);
  const scales = SCALES[unit];
  if (scales !== undefined) return amountOf(unit, scales, text);
  const match = /^([^/%]+?)(?:\/([^/%]+)|(%))?$/.exec(text.trim());
  const [over, under] = [Number(match?.[1] ?? Number.NaN), match?.[3] === '%' ? 100 : Number(match?.[2] ?? 1)];
  if (!Number.isFinite(over / under) || (match?.[3] === '%' && !share)) {
    throw new RangeError(`A number is allowed, e.g. ${share ? '0.5 or 50%' : '0.5 or 1e-3'}.`);
  }
  // A percentage that is written as a plain number.
  if (share && match?.[3] === undefined && match?.[2] === undefined && over > 1 && over <= 100)
    throw new RangeError(`A share from 0 to 1 is allowed, e.g. 0.5 or 50%: ${over} percent is written ${over}%.`);
  return over / under;
}
