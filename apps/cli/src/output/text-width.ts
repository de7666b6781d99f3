// Text in columns of a terminal: a CJK character or an emoji takes two, an accent none.
import stringWidth from 'string-width';

const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const ELLIPSIS = '…';

export function widthOf(text: string): number {
  return stringWidth(text);
}

/** Plain text (no styles), cut to at most `columns` columns. */
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

/** Plain text as lines of at most `columns` columns, broken between words where that is possible. */
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
      const part = beginning(rest, columns) || rest.slice(0, 2); // a column of one has no room for a wide character
      lines.push(part);
      rest = rest.slice(part.length);
    }
    line = rest;
  }
  return [...lines, line];
}

/**
 * As lines of at most `columns` columns. A word that is longer (a path, a digest) is left whole, for copying: the terminal itself
 * breaks it. A list is broken behind its commas.
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
