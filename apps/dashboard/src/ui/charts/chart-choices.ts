// The reader's choices for charts. The address holds them, so that a link shows the same charts; the browser remembers them for the next
// view.

/** Adds the remembered choices to a query that has none; null where the query stays as it is. */
export function withRemembered(query: URLSearchParams, remembered: Readonly<Record<string, string>>): URLSearchParams | null {
  const missing = Object.entries(remembered).filter(([, value]) => value !== '');
  if (missing.length === 0 || Object.keys(remembered).some((name) => query.has(name))) return null;
  const next = new URLSearchParams(query);
  for (const [name, value] of missing) next.set(name, value);
  return next;
}

/** Returns the choices with these names that a stored text holds. */
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
