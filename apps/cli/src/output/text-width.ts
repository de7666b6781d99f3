// Measures and cuts text in columns of a terminal: a CJK character or an emoji takes two columns, a combining accent none.
import stringWidth from 'string-width';

const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const ELLIPSIS = '…';

export function widthOf(text: string): number {
  return stringWidth(text);
}

/** Cuts plain text (without styles) to at most `columns` columns. */
export function cutTo(text: string, columns: number): string {
  return widthOf(text) <= columns ? text : `${beginning(text, columns - 1)}${ELLIPSIS}`;
}

function beginning(text: string, columns: number): string {
  let taken = '';
  for (const { segment } of segmenter.segment(text)) {
    if (widthOf(taken + segment) > columns) break;
    taken += segment;
  }
  return taken;
}

/** Splits plain text into lines of at most `columns` columns, between words where that is possible. */
export function wrapTo(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    let rest = word;
    if (line !== '' && widthOf(`${line} ${rest}`) <= columns) {
      line += ` ${rest}`;
      continue;
    }
    if (line !== '') lines.push(line);
    for (line = ''; widthOf(rest) > columns;) {
      const part = beginning(rest, columns) || rest.slice(0, 2); // one column has no room for a wide character
      lines.push(part);
      rest = rest.slice(part.length);
    }
    line = rest;
  }
  return [...lines, line];
}

/**
 * Splits text into lines of at most `columns` columns. A longer word (a path, a digest) stays whole, so that it can be copied; the terminal
 * itself breaks it. A list is broken after its commas.
 */
export function wrapWords(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line: string | undefined;
  for (const word of text.split(' ')) {
    const parts = widthOf(word) > columns ? word.split(/(?<=,)/) : [word];
    for (const [index, part] of parts.entries()) {
      const joined = line === undefined ? part : `${line}${index === 0 ? ' ' : ''}${part}`;
      if (line === undefined || widthOf(joined) <= columns) line = joined;
      else {
        lines.push(line);
        line = part;
      }
    }
  }
  return [...lines, line ?? ''];
}

/** Wraps each line of a text that is too long. What follows its first line begins `indent` columns further in. */
export function wrapLines(text: string, columns: number, indent = 2): string {
  const wrapped = (line: string): string => {
    if (widthOf(line) <= columns) return line;
    const lead = ' '.repeat(line.search(/\S|$/));
    const words = line.slice(lead.length);
    const [first = ''] = wrapWords(words, columns - lead.length);
    const rest = words.slice(first.length).trimStart();
    const others = rest === '' ? [] : wrapWords(rest, Math.max(columns - lead.length - indent, 20));
    return [lead + first, ...others.map((one) => lead + ' '.repeat(indent) + one)].join('\n');
  };
  return text.split('\n').map(wrapped).join('\n');
}
