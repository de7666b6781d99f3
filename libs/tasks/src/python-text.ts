// Handles texts by Python's rules where these differ from JavaScript's, because published figures were made by Python's rules.

/**
 * The white space of Python's `str`, for character classes. Unlike \s it has the separators U+001C to U+001F and U+0085, and not U+FEFF.
 */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const TRAILING = new RegExp(`[${SPACE}]+$`, 'u');
const LEADING = new RegExp(`^[${SPACE}]+`, 'u');
const SPACES = new RegExp(`[${SPACE}]+`, 'u');

export const strip = (text: string): string => text.replace(LEADING, '').replace(TRAILING, '');

/** The number of white space characters at the end of a text. */
export const trailingSpace = (text: string): number => TRAILING.exec(text)?.[0].length ?? 0;

/** The length of a text as Python's `len` counts it: in code points, not in units of UTF-16. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** Splits a text at runs of white space. Empty parts at the ends count. */
export const splitAtSpace = (text: string): string[] => text.split(SPACES);

/** Letters such as "ǅ", of which only the first part is a capital, by their small letters. */
const TITLE_LETTERS = new Map(
  Array.from({ length: 0x2000 }, (_, code) => String.fromCharCode(code))
    .filter((letter) => /\p{Lt}/u.test(letter))
    .map((letter) => [letter.toLowerCase(), letter]),
);
/** Georgian words begin with a small letter in titles too. */
const GEORGIAN = /^[\u10d0-\u10fa\u10fd-\u10ff]/u;
const IOTA_BELOW = '\u0345';

/** Python's `capitalize`: the first letter as at the beginning of a title, and all others small. */
export function capitalize(text: string): string {
  const [first = ''] = text;
  const small = first.toLowerCase();
  return titleOf(first, small) + text.toLowerCase().slice(small.length);
}

function titleOf(letter: string, small: string): string {
  const known = TITLE_LETTERS.get(small);
  if (known !== undefined) return known;
  if (GEORGIAN.test(letter)) return letter;
  const [capital = '', ...rest] = letter.toUpperCase();
  const more = rest.join('');
  if (small.normalize('NFD').includes(IOTA_BELOW)) return capital + more.replace('\u0399', IOTA_BELOW);
  return /^\p{L}/u.test(capital) && !/^\p{Lm}/u.test(capital) ? capital + more.toLowerCase() : capital + more;
}
