// Views of the list that have a name. The browser keeps them; each is what an address says of the list, so that a link shares it.

export interface SavedView {
  name: string;
  /** The query of an address of the list. */
  query: string;
}

const PARTS = ['q', 'tags', 'where', 'status', 'order', 'group', 'columns'];

/** The part of an address that describes the list, always in the same order. */
export function viewQuery(query: URLSearchParams): string {
  const parts = new URLSearchParams();
  for (const name of PARTS) {
    const value = query.get(name) ?? '';
    if (value !== '') parts.set(name, value);
  }
  return parts.toString();
}

/** Whatever was stored, only views come of it. */
export function viewsOf(stored: string | null): SavedView[] {
  let known: unknown;
  try {
    known = JSON.parse(stored ?? '[]');
  } catch {
    known = [];
  }
  if (!Array.isArray(known)) return [];
  return (known as unknown[]).flatMap((one): SavedView[] => {
    const { name, query } = (one ?? {}) as Partial<Record<string, unknown>>;
    return typeof name === 'string' && name !== '' && typeof query === 'string' ? [{ name, query }] : [];
  });
}

/** A view of the same name is replaced. */
export function withView(views: readonly SavedView[], view: SavedView): SavedView[] {
  const others = views.filter(({ name }) => name !== view.name);
  return [...others, view].sort((one, other) => one.name.localeCompare(other.name, 'en'));
}
