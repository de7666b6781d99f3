// A line of a log has a greatest length, because texts from outside (a name, an error text, a request) may have any length.
export const LINE_CHARACTERS_MAX = 8_000;
const TEXT_CHARACTERS_MAX = 1_000;

/**
 * Cuts a line that is too long. A line of JSON stays valid JSON: its texts are cut, or, if there are too many, all fields but the message
 * are dropped.
 */
export function cutLine(line: string): string {
  if (line.length <= LINE_CHARACTERS_MAX) return line;
  const entry = parsed(line);
  if (entry === null) return `${cutText(line.trimEnd(), LINE_CHARACTERS_MAX - 100)}\n`;
  const short = (value: unknown): unknown => (typeof value === 'string' ? cutText(value, TEXT_CHARACTERS_MAX) : value);
  const cut = `${JSON.stringify(entry, (_key, value: unknown) => short(value))}\n`;
  if (cut.length <= LINE_CHARACTERS_MAX) return cut;
  const { level, time, pid, msg } = entry;
  const few = { level, time, pid, msg: typeof msg === 'string' ? short(msg) : '', charactersLeftOut: line.length };
  return `${JSON.stringify(few)}\n`;
}

function cutText(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most)}… (${text.length} characters)`;
}

function parsed(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
