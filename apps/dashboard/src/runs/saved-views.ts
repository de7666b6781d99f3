// Named views of the list, which the server keeps. A view is the part of an address that describes the list, so it can be shared as a
// link.
import type { SavedPage } from '../generated/espalier/v1/page_service_pb.js';

export interface SavedView {
  name: string;
  /** The query of an address of the list. */
  query: string;
  page: SavedPage;
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

/** The views of the list among the pages that the server keeps, by name. */
export function viewsOf(pages: readonly SavedPage[]): SavedView[] {
  const views = pages.flatMap((page): SavedView[] => {
    const query = page.content?.listView?.query;
    return query === undefined ? [] : [{ name: page.name, query: viewQuery(new URLSearchParams(query)), page }];
  });
  return views.sort((one, other) => one.name.localeCompare(other.name, 'en'));
}
