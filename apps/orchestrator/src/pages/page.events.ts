// Every fact that is stored about a page, in the past tense. Its stream is `page-<pageId>`. The bytes and the digest chain have the form of
// those of runs.
import type { CallContext } from '../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../event-sourcing/event-codec.js';
import { eventTypesOf } from '../event-sourcing/event-types.js';

/** A run as it is now or, with a revision, as its record was there. */
export interface PageRun {
  runId: string;
  held?: { revision: number; chain: string };
}

export type Panel = { title: string } & (
  | { kind: 'text'; markdown: string }
  | { kind: 'chart'; quantity: string; axis: string; logarithmic: boolean }
  | { kind: 'table'; figures: string[] }
  | { kind: 'scatter'; across: string; up: string }
);

export type PageContent = { kind: 'list'; query: string } | { kind: 'panels'; runs: PageRun[]; panels: Panel[] };

interface Facts {
  /** The page was made, or changed: this is all of it. */
  PageSaved: { pageId: string; name: string; content: PageContent };
  PageDeleted: { reason: string };
}

export type NewPageFact = {
  [T in keyof Facts]: { type: T; at: string; data: Facts[T]; context?: CallContext | undefined };
}[keyof Facts];
export type PageEvent = (NewPageFact & Envelope) | UnknownEvent;

export const PAGE_STREAM_PREFIX = 'page-';

export const pageEventTypes = eventTypesOf<keyof Facts>({ PageSaved: true, PageDeleted: true });
