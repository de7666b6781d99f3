// Text from outside, before it goes to a terminal: a terminal acts upon control characters and escape sequences, and shows text
// with bidirectional marks or invisible characters as something that it is not.

// Controls, format characters (bidirectional marks, zero width), line and paragraph separators, half surrogates, and whatever else
// Unicode wants ignored; not the joiner within an emoji, and not what chooses between its two looks.
const HIDDEN =
  /(?!(?<=[\p{Extended_Pictographic}\ufe0f\u{1f3fb}-\u{1f3ff}])\u200d(?=\p{Extended_Pictographic}))[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}](?<![\ufe0e\ufe0f])/gu;
const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** The first character that can't be seen, as visibleText would show it; undefined when all can be. */
export function hiddenCharacter(text: string): string | undefined {
  HIDDEN.lastIndex = 0;
  const found = HIDDEN.exec(text)?.[0];
  return found === undefined ? undefined : escaped(found);
}

/** One line in which everything can be seen: a line break is \n, an escape \u{1b}, a bidirectional override \u{202e}. */
export function visibleText(text: string): string {
  return text.replace(HIDDEN, escaped);
}

/** The same for text of several lines, which stay lines. */
export function visibleLines(text: string): string {
  return text.split('\n').map(visibleText).join('\n');
}

function escaped(character: string): string {
  return SHORT[character] ?? `\\u{${character.codePointAt(0)!.toString(16)}}`;
}

/** JSON that means the same, with what can't be seen in escapes; the line breaks between its values stay. */
export function visibleJson(json: string): string {
  return json.replace(HIDDEN, (character) =>
    character === '\n'
      ? character
      : [...Array(character.length).keys()].map((unit) => `\\u${character.charCodeAt(unit).toString(16).padStart(4, '0')}`).join(''),
  );
}

/** A copy of a message in which every text is a visible one; bytes, dates and numbers are as they were. */
export function visibleMessage<T>(value: T): T {
  return visible(value) as T;
}

function visible(value: unknown): unknown {
  if (typeof value === 'string') return visibleText(value);
  if (Array.isArray(value)) return value.map(visible);
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, visible(inner)]));
}
