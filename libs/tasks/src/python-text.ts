// Texts as Python sees them, where its rules differ from JavaScript's: published figures were made by its rules.

/** White space of `str`, for character classes: unlike \s it has the separators U+001C to U+001F and U+0085, and no U+FEFF. */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const TRAILING = new RegExp(`[${SPACE}]+$`, 'u');
const LEADING = new RegExp(`^[${SPACE}]+`, 'u');
const SPACES = new RegExp(`[${SPACE}]+`, 'u');

export const strip = (text: string): string => text.replace(LEADING, '').replace(TRAILING, '');

/** How many characters of white space a text ends in. */
export const trailingSpace = (text: string): number => TRAILING.exec(text)?.[0].length ?? 0;

/** `len` of a string: code points, not units of UTF-16. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** Parts between runs of white space; empty ones at the ends count. */
export const splitAtSpace = (text: string): string[] => text.split(SPACES);
