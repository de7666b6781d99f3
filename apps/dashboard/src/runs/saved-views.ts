// Named views of the list, which the browser keeps. A view is the part of an address that describes the list, so it can be shared as a
// link.

export interface SavedView {
  name: string;
  /** The query of an address of the list. */
  query: string;
}

const PARTS = ['q', 'tags', 'where', 'status', 'order', 'group', 'columns', 'plot', 'across', 'up', 'axes'];

/** Returns the part of an address that describes the list, always in the same order. */
export function viewQuery(query: URLSearchParams): string {
  const parts = new URLSearchParams();
  for (const name of PARTS) {
    const value = query.get(name) ?? '';
    if (value !== '') parts.set(name, value);
  }
  return parts.toString();
}

/** Reads the stored views, whatever was stored. */
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

/** Adds a view, which replaces a view of the same name. */
export function withView(views: readonly SavedView[], view: SavedView): SavedView[] {
  const others = views.filter(({ name }) => name !== view.name);
  return [...others, view].sort((one, other) => one.name.localeCompare(other.name, 'en'));
}
