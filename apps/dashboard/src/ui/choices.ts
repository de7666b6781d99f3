// The reader's choices for charts. The address keeps them, so that a link shows the same; the browser remembers them for the next view.

/** The query with what was remembered, where it says nothing of its own; null where it stays as it is. */
export function withRemembered(query: URLSearchParams, remembered: Readonly<Record<string, string>>): URLSearchParams | null {
  const missing = Object.entries(remembered).filter(([, value]) => value !== '');
  if (missing.length === 0 || Object.keys(remembered).some((name) => query.has(name))) return null;
  const next = new URLSearchParams(query);
  for (const [name, value] of missing) next.set(name, value);
  return next;
}

/** Those of `names` that a stored text has. */
export function rememberedOf(stored: string | null, names: readonly string[]): Record<string, string> {
  let known: unknown;
  try {
    known = JSON.parse(stored ?? '{}');
  } catch {
    known = {};
  }
  const record = typeof known === 'object' && known !== null ? (known as Record<string, unknown>) : {};
  return Object.fromEntries(
    names.map((name) => {
      const value = record[name];
      return [name, typeof value === 'string' ? value : ''];
    }),
  );
}

/** A share as the address has it; 0 where it has none that is allowed. */
export function shareOf(text: string | null, most: number): number {
  const value = Number(text ?? '0');
  return Number.isFinite(value) && value >= 0 ? Math.min(value, most) : 0;
}
