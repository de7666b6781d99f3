// Describes the terminal. Colour is used only if a person looks at it and has not turned it off (https://no-color.org).
import { randomInt } from 'node:crypto';
import { visibleLines } from '#protocol';
import { wrapLines } from './text-width.js';

export interface Terminal {
  /** True when a person looks at standard output, so that a live line makes sense. */
  isLive: boolean;
  columns: number;
  colour: boolean;
  /** Whether the terminal shows the box characters of bars and tables, which need UTF-8. */
  unicode: boolean;
}

export function describeTerminal(
  stream: NodeJS.WritableStream & { isTTY?: boolean; columns?: number } = process.stdout,
  env = process.env,
): Terminal {
  const isTerminal = stream.isTTY === true && env['TERM'] !== 'dumb';
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  return {
    isLive: isTerminal,
    // Output that is not for a screen is not fitted to a width.
    columns: stream.columns || Number(env['COLUMNS']) || (isTerminal ? 80 : Infinity),
    colour: isTerminal && !env['NO_COLOR'],
    unicode: !isTerminal || /utf-?8/i.test(locale) || locale === '',
  };
}

/**
 * Makes text safe to print: control characters become visible, except line breaks. Every text passes this function once, in a pipe too.
 * Only here do the command's own styles become codes of the terminal, so a code in the text of a user or of an engine stays visible.
 */
export function printable(text: string): string {
  return text
    .split(OWN_STYLES)
    .map((part, index) => (index % 2 === 1 ? `\u001b[${part}m` : visibleLines(part)))
    .join('');
}

/** Writes a text for people to standard error, wrapped at the terminal's width. */
export function toStandardError(text: string, indent = 0, stderr: NodeJS.WritableStream = process.stderr): void {
  stderr.write(`${wrapLines(printable(text), describeTerminal(stderr).columns, indent)}\n`);
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Style = keyof typeof CODES;

/** Marks the command's own styles. No text from outside has these random numbers; what measures widths takes them for a code, too. */
const OWN = Array.from({ length: 4 }, () => randomInt(1_000, 10_000)).join(';');
const OWN_STYLES = new RegExp(`\u001b\\[${OWN};(\\d+)m`);

/** Marks text with a style. `printable` makes codes of the marks. */
export function styled(terminal: Pick<Terminal, 'colour'>, style: Style, text: string): string {
  return terminal.colour ? `\u001b[${OWN};${CODES[style]}m${text}\u001b[${OWN};0m` : text;
}
