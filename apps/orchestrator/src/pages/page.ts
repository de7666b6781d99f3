// The aggregate of a page. All functions are pure.
import { EspalierError } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import { canonicalJson } from '../event-sourcing/canonical-json.js';
import { begun } from '../event-sourcing/not-begun-error.js';
import type { NewPageFact, PageContent, PageEvent } from './page.events.js';

export interface PageState {
  pageId: string;
  name: string;
  content: PageContent;
  madeAt: string;
  /** The caller who made the page, and to whom it belongs. */
  madeBy: CallContext | null;
  savedAt: string;
  isDeleted: boolean;
  revision: number;
  chain: string;
}

export type PageChange =
  /** @param expected the revision that the change was made on; undefined: the page is new, or any revision will do */
  { kind: 'save'; pageId: string; name: string; content: PageContent; expected?: number | undefined } | { kind: 'delete'; reason: string };

export const pageNotFound = (pageId: string): EspalierError =>
  new EspalierError('PAGE_NOT_FOUND', `there is no page ${pageId}`, {
    violations: [{ field: 'page_id', description: `there is no page ${pageId}`, code: 'PAGE_NOT_FOUND' }],
  });

export function evolve(state: PageState | null, event: PageEvent): PageState | null {
  if (event.type === 'PageSaved') {
    const { pageId, name, content } = event.data;
    const begins = { pageId, madeAt: event.at, madeBy: event.context ?? null, isDeleted: false, revision: -1 };
    const before = state ?? begins;
    return { ...before, name, content, savedAt: event.at, revision: before.revision + 1, chain: event.chain };
  }
  if (state === null) return null;
  const isDeleted = state.isDeleted || event.type === 'PageDeleted';
  return { ...state, isDeleted, revision: state.revision + 1, chain: event.chain };
}

/** @throws EspalierError when the page does not allow the change; NotBegun when the page does not exist */
export function decide(state: PageState | null, change: PageChange, at: string): NewPageFact[] {
  if (change.kind === 'delete') {
    if (begun(state).isDeleted) return [];
    return [{ type: 'PageDeleted', at, data: { reason: change.reason } }];
  }
  const { pageId, name, content, expected } = change;
  if (state?.isDeleted === true) throw pageNotFound(pageId);
  if (state !== null && expected !== undefined && expected !== state.revision)
    throw new EspalierError(
      'PAGE_CHANGED',
      `the page ${state.name} was changed meanwhile: it has revision ${state.revision}, not ${expected}`,
    );
  if (state !== null && state.name === name && canonicalJson(state.content) === canonicalJson(content)) return [];
  return [{ type: 'PageSaved', at, data: { pageId, name, content } }];
}
