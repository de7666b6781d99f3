// Makes text from outside safe for a terminal. A terminal acts upon control characters and escape sequences, and bidirectional marks or
// invisible characters make a text look like another one.

// Controls, format characters (bidirectional marks, zero width), line and paragraph separators, half surrogates, and all other characters
// that Unicode says to ignore. The joiner within an emoji and the selectors of its look are allowed.
const HIDDEN =
  /(?!(?<=[\p{Extended_Pictographic}\ufe0f\u{1f3fb}-\u{1f3ff}])\u200d(?=\p{Extended_Pictographic}))[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}](?<![\ufe0e\ufe0f])/gu;
const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Returns the first invisible character, as visibleText would show it; undefined if all characters are visible. */
export function hiddenCharacter(text: string): string | undefined {
  HIDDEN.lastIndex = 0;
  const found = HIDDEN.exec(text)?.[0];
  return found === undefined ? undefined : escaped(found);
}

/** Returns one line in which every character is visible: a line break becomes \n, an escape \u{1b}, a bidirectional override \u{202e}. */
export function visibleText(text: string): string {
  return text.replace(HIDDEN, escaped);
}

/** Does the same for a text of several lines, and keeps the lines. */
export function visibleLines(text: string): string {
  return text.split('\n').map(visibleText).join('\n');
}

function escaped(character: string): string {
  return SHORT[character] ?? `\\u{${character.codePointAt(0)!.toString(16)}}`;
}

/** Escapes the invisible characters of JSON, so that it keeps its meaning. The line breaks between its values stay. */
export function visibleJson(json: string): string {
  return json.replace(HIDDEN, (character) =>
    character === '\n'
      ? character
      : [...Array(character.length).keys()].map((unit) => `\\u${character.charCodeAt(unit).toString(16).padStart(4, '0')}`).join(''),
  );
}

/** Returns a copy of a message in which every text is visible. Bytes, dates and numbers are unchanged. */
export function visibleMessage<T>(value: T): T {
  return visible(value) as T;
}

function visible(value: unknown): unknown {
  if (typeof value === 'string') return visibleText(value);
  if (Array.isArray(value)) return value.map(visible);
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, visible(inner)]));
}
