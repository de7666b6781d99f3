// Compares a number as a page shows it with the number that a program has.

const UNITS: Readonly<Record<string, number>> = { k: 1e3, M: 1e6, G: 1e9, '%': 0.01, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, B: 1 };

/** Tells whether the text is the value, rounded to the digits that the text has: "228 k" is 227745, and 10.5 % is 0.10483. */
export function isShownAs(text: string, value: number): boolean {
  const plain = text
    .replaceAll('\u2212', '-')
    .replaceAll(/[\u2009\u202f,]/g, '')
    .trim();
  const [, digits = '', fraction = '', power = '0', unit = ''] = /^(-?\d+(?:\.(\d+))?)(?:e(-?\d+))?\s*([a-zA-Z%]*)/.exec(plain) ?? [];
  const scale = unit === '' ? 1 : UNITS[unit];
  if (digits === '' || scale === undefined) return false;
  const shown = Number(`${digits}e${power}`) * scale;
  const half = 0.5 * 10 ** (Number(power) - fraction.length) * scale;
  return Math.abs(shown - value) <= half * (1 + 1e-9);
}
