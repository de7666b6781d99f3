// Describes the terminal. Colour is used only if a person looks at it and has not turned it off (https://no-color.org).
import { visibleLines } from '#protocol';
import { wrapLines } from './text-width.js';

export interface Terminal {
  /** True when a person looks at standard output, so that a live line makes sense. */
  isLive: boolean;
  /** True when any terminal shows standard output, so that no control character may be written. */
  isScreen: boolean;
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
    isScreen: stream.isTTY === true,
    // Output that is not for a screen is not fitted to a width.
    columns: stream.columns || Number(env['COLUMNS']) || (isTerminal ? 80 : Infinity),
    colour: isTerminal && !env['NO_COLOR'],
    unicode: !isTerminal || /utf-?8/i.test(locale) || locale === '',
  };
}

/**
 * Makes text safe to print. Only the command's own styles and line breaks reach the terminal unchanged. Messages of servers are already
 * made visible when they arrive, line breaks included; this covers paths, options and all other texts that are echoed.
 */
export function printable(text: string): string {
  return text
    .split(OWN_STYLES)
    .map((part, index) => (index % 2 === 1 ? part : visibleLines(part)))
    .join('');
}

/** Writes a text for people to standard error, wrapped at the terminal's width. */
export function toStandardError(text: string, indent = 0, stderr: NodeJS.WritableStream = process.stderr): void {
  stderr.write(`${wrapLines(printable(text), describeTerminal(stderr).columns, indent)}\n`);
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
/** The codes of `styled`, and those by which the library of tables ends a style at the end of a line: 22 and 39. */
const OWN_STYLES = /(\u001b\[(?:[012]|22|3[12369])m)/;
export type Style = keyof typeof CODES;

export function styled(terminal: Pick<Terminal, 'colour'>, style: Style, text: string): string {
  return terminal.colour ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text;
}
