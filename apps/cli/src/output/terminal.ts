// What the terminal can do. Colour only where a person looks at it and has not asked for none (https://no-color.org).
export interface Terminal {
  /** True when a person looks at standard output: a live line makes sense. */
  isLive: boolean;
  columns: number;
  colour: boolean;
  /** The box characters of a bar and a table need UTF-8. */
  unicode: boolean;
}

export function describeTerminal(stream: NodeJS.WriteStream = process.stdout, env = process.env): Terminal {
  const isTerminal = stream.isTTY === true && env['TERM'] !== 'dumb';
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  return {
    isLive: isTerminal,
    columns: stream.columns || Number(env['COLUMNS']) || 100,
    colour: isTerminal && !env['NO_COLOR'],
    unicode: !isTerminal || /utf-?8/i.test(locale) || locale === '',
  };
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Style = keyof typeof CODES;

export function styled(terminal: Pick<Terminal, 'colour'>, style: Style, text: string): string {
  return terminal.colour ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text;
}
