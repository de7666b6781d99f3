// The abilities of the terminal. Colour only where a person looks at it and has not asked for none (https://no-color.org).
import { visibleLines } from '#protocol';

export interface Terminal {
  /** True when a person looks at standard output: a live line makes sense. */
  isLive: boolean;
  /** A terminal shows standard output, whatever it is able to: nothing may pass that acts there. */
  isScreen: boolean;
  columns: number;
  colour: boolean;
  /** The box characters of a bar and a table need UTF-8. */
  unicode: boolean;
}

export function describeTerminal(stream: { isTTY?: boolean; columns?: number } = process.stdout, env = process.env): Terminal {
  const isTerminal = stream.isTTY === true && env['TERM'] !== 'dumb';
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  return {
    isLive: isTerminal,
    isScreen: stream.isTTY === true,
    // Output that is not for a screen is not fitted to one.
    columns: stream.columns || Number(env['COLUMNS']) || (isTerminal ? 80 : Infinity),
    colour: isTerminal && !env['NO_COLOR'],
    unicode: !isTerminal || /utf-?8/i.test(locale) || locale === '',
  };
}

/**
 * The last net for what is printed: of all that a terminal acts upon only our own styles and line breaks pass. Messages of
 * servers are made visible where they come in, line breaks included; this catches paths, options and whatever else is echoed.
 */
export function printable(text: string): string {
  return text
    .split(OWN_STYLES)
    .map((part, index) => (index % 2 === 1 ? part : visibleLines(part)))
    .join('');
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
const OWN_STYLES = /(\u001b\[(?:[012]|3[1236])m)/;
export type Style = keyof typeof CODES;

export function styled(terminal: Pick<Terminal, 'colour'>, style: Style, text: string): string {
  return terminal.colour ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text;
}
