// Answers ReadHistory and WatchHistory: the record as it is stored, read from the event store itself and not from a view.
import {
  endOf,
  EventCorruptError,
  readPastDamage,
  type EventStore,
  type Position,
  type StoredEvent,
  type Subscription,
} from '#event-store';
import { invalidField, v1 } from '#protocol';
import { knownTypeNames } from '../pruning-run/record/event-versions.js';
import type { RecordedEvent } from '../pruning-run/record/pruning-run.events.js';
import { decodeStored, RUN_STREAM_PREFIX, runIdOf, runStream } from '../pruning-run/record/stored-event.js';
import { summarize } from './history-summary.js';
import { ancestorsOf } from './lineage.js';
import { isAbandoned, type Rewind } from '../views/projection/run-detail.js';
import type { RunViews } from '../views/run-views.js';

const DEFAULT_PAGE_SIZE = 200;
const LARGEST_PAGE_SIZE = 1000;

/** Turns an event, or the error in the place of a damaged one, into a message. */
function historyItem(item: StoredEvent | EventCorruptError, rewinds: readonly Rewind[]): v1.HistoryEvent {
  if (!(item instanceof EventCorruptError)) return historyEvent(item, rewinds);
  return v1.HistoryEvent.fromPartial({
    runId: runIdOf(item),
    revision: item.revision,
    summary: item.message,
    damaged: true,
    abandoned: isAbandoned(rewinds, Number(item.revision)),
  });
}

function historyEvent(stored: StoredEvent, rewinds: readonly Rewind[]): v1.HistoryEvent {
  const event = readable(stored);
  const recordedAt = new Date(event.at);
  return {
    runId: runIdOf(stored),
    revision: stored.revision,
    eventId: stored.id,
    type: stored.type,
    schemaVersion: event.v,
    recordedAt: Number.isNaN(recordedAt.getTime()) ? stored.createdAt : recordedAt,
    dataJson: Buffer.from(stored.data).toString('utf8'),
    summary: summarize(event),
    knownType: event.type !== 'Unknown',
    abandoned: !outlivesRewinds(event, Number(stored.revision), rewinds) && isAbandoned(rewinds, Number(stored.revision)),
    damaged: false,
    context: contextMessage(event),
  };
}

/**
 * Tells whether an event still holds after a rewind. Descriptions and removals hold on every branch, and results hold for the states that
 * remain.
 */
function outlivesRewinds(event: RecordedEvent, revision: number, rewinds: readonly Rewind[]): boolean {
  switch (event.type) {
    case 'RunDescribed':
    case 'RunPrioritized':
    case 'RunPrepared':
    case 'ArtifactsDiscarded':
      return true;
    case 'EvaluationRecorded':
    case 'SpeedRecorded':
    case 'ModelExported':
      return rewinds.every((rewind) => revision >= rewind.revision || event.data.step <= rewind.toStep);
    default:
      return false;
  }
}

function contextMessage({ context }: RecordedEvent): v1.CallContext | undefined {
  return context && { ...context, actorName: context.actorName ?? '', requestId: context.requestId ?? '' };
}

function readable(stored: StoredEvent): RecordedEvent {
  try {
    return decodeStored(stored);
  } catch {
    return { type: 'Unknown', storedType: stored.type, at: '', v: 0, chain: '', data: {} };
  }
}

/** A stretch of one run's events. `offset` is the place of its first event in the combined history. */
interface Stretch {
  runId: string;
  offset: bigint;
  /** The number of events. */
  length: bigint;
}

/**
 * Reads a page. With the ancestors included, from_revision and next_revision count through the combined history: the oldest ancestor's
 * events up to the fork, those of the next, and so on, then the run's own. Without the ancestors they are the run's own revisions.
 */
export async function readHistory(views: RunViews, store: EventStore, request: v1.ReadHistoryRequest): Promise<v1.ReadHistoryResponse> {
  const pageSize = request.pageSize === 0 ? DEFAULT_PAGE_SIZE : request.pageSize;
  if (pageSize > LARGEST_PAGE_SIZE) throw invalidField('FIELD_OUT_OF_RANGE', 'page_size', `1 to ${LARGEST_PAGE_SIZE} is allowed`);
  const runId = await views.runId(request.runId);
  const stretches = await stretchesOf(views, store, runId, request.includeInherited);
  const types = checkedTypes(
    views,
    stretches.map((stretch) => stretch.runId),
    request.types,
  );
  const length = stretches.reduce((sum, stretch) => sum + stretch.length, 0n);
  if (request.fromRevision !== undefined && request.fromRevision > length) {
    // at the end itself there may soon be more events
    throw invalidField('REVISION_NOT_FOUND', 'from_revision', `0 to ${length - 1n} is allowed, is ${request.fromRevision}`);
  }
  const events: v1.HistoryEvent[] = [];
  for await (const { item, at } of walk(store, stretches, request)) {
    if (!isAsked(item, types)) continue;
    if (events.length === pageSize) return { events, nextRevision: at };
    const owner = runIdOf(item);
    events.push(historyItem(item, views.peek(owner)?.extras.rewinds ?? []));
  }
  return { events, nextRevision: undefined };
}

/** Types of later releases count as known if the history has events of them. */
function checkedTypes(views: RunViews, runIds: string[], asked: string[]): Set<string> {
  for (const type of asked) {
    const known = knownTypeNames.includes(type) || runIds.some((runId) => (views.peek(runId)?.extras.unknownEvents[type] ?? 0) > 0);
    if (!known)
      throw invalidField('FIELD_UNKNOWN_VALUE', 'types', `"${type}" is not a type of event; allowed are ${knownTypeNames.join(', ')}`);
  }
  return new Set(asked);
}

/** A damaged event is always shown, since its type is unknown. */
function isAsked(item: StoredEvent | EventCorruptError, types: Set<string>): boolean {
  return types.size === 0 || item instanceof EventCorruptError || types.has(item.type);
}

async function stretchesOf(views: RunViews, store: EventStore, runId: string, inherited: boolean): Promise<Stretch[]> {
  const line = inherited ? [runId, ...ancestorsOf(views, runId)] : [runId];
  const stretches: Stretch[] = [];
  let offset = 0n;
  for (const owner of line.toReversed()) {
    const heir = line[line.indexOf(owner) - 1];
    const origin = heir === undefined ? null : views.summaryOf(heir).run.origin;
    const last = origin === null ? await lastRevision(store, owner) : BigInt(origin.parentRevision);
    stretches.push({ runId: owner, offset, length: last + 1n });
    offset += last + 1n;
  }
  return stretches;
}

async function lastRevision(store: EventStore, runId: string): Promise<bigint> {
  for await (const { revision } of readPastDamage(store, runStream(runId), { direction: 'backwards', maxCount: 1 })) return revision;
  return -1n;
}

async function* walk(
  store: EventStore,
  stretches: Stretch[],
  { fromRevision, backwards }: v1.ReadHistoryRequest,
): AsyncIterable<{ item: StoredEvent | EventCorruptError; at: bigint }> {
  const ordered = backwards ? [...stretches].reverse() : stretches;
  for (const { runId, offset, length } of ordered) {
    const first = 0n;
    const last = length - 1n;
    const asked = fromRevision === undefined ? (backwards ? last : first) : fromRevision - offset;
    if (backwards ? asked < first : asked > last) continue;
    const from = backwards ? (asked > last ? last : asked) : asked < first ? first : asked;
    const maxCount = Number(backwards ? from + 1n : last - from + 1n);
    const direction = backwards ? ('backwards' as const) : ('forwards' as const);
    for await (const item of readPastDamage(store, runStream(runId), { from, direction, maxCount }))
      yield { item, at: item.revision + offset };
  }
}

/**
 * Yields one run's events from the start or a revision on, then new ones as they come. Without a run, yields the events of all runs from
 * now or a position on.
 */
export async function* watchHistory(
  views: RunViews,
  store: EventStore,
  request: v1.WatchHistoryRequest,
  signal: AbortSignal,
): AsyncGenerator<v1.WatchHistoryResponse> {
  const runId = request.runId === '' ? null : await views.runId(request.runId);
  const types = checkedTypes(views, runId === null ? [] : [runId], request.types);
  let position = runId === null ? await startPosition(store, request) : null;
  const subscription =
    runId !== null
      ? await subscribeToRun(store, runId, request)
      : store.subscribeAll({ after: position!, streamPrefixes: [RUN_STREAM_PREFIX] });
  const close = (): void => {
    void subscription.close();
  };
  signal.addEventListener('abort', close);
  let caughtUp = false;
  try {
    for await (const item of subscription) {
      if (signal.aborted) return;
      if (item.kind === 'event' || item.kind === 'damaged') {
        const told = item.kind === 'event' ? item.event : item.error;
        const owner = runIdOf(told);
        if (position !== null) ({ position } = told);
        if (isAsked(told, types))
          yield { event: historyItem(told, views.peek(owner)?.extras.rewinds ?? []), caughtUp: false, position: positionText(position) };
      } else if (item.kind === 'caughtUp' && !caughtUp) {
        caughtUp = true;
        yield { event: undefined, caughtUp: true, position: positionText(position) };
      }
    }
  } finally {
    signal.removeEventListener('abort', close);
    await subscription.close();
  }
}

async function subscribeToRun(
  store: EventStore,
  runId: string,
  { afterRevision, afterPosition }: v1.WatchHistoryRequest,
): Promise<Subscription> {
  if (afterPosition !== '') throw invalidField('REQUEST_INVALID', 'after_position', 'is allowed without run_id only; use after_revision');
  const last = await lastRevision(store, runId);
  if (afterRevision !== undefined && afterRevision > last) {
    throw invalidField(
      'REVISION_NOT_FOUND',
      'after_revision',
      `0 to ${last} is allowed: run ${runId} has no revision ${afterRevision} yet`,
    );
  }
  return store.subscribe(runStream(runId), { after: afterRevision ?? 'start' });
}

async function startPosition(store: EventStore, { afterRevision, afterPosition }: v1.WatchHistoryRequest): Promise<Position> {
  if (afterRevision !== undefined)
    throw invalidField('REQUEST_INVALID', 'after_revision', 'is allowed with run_id only; use after_position');
  const [, commit, prepare] = /^(\d{1,19})-(\d{1,19})$/.exec(afterPosition) ?? [];
  if (commit !== undefined && prepare !== undefined) return { commit: BigInt(commit), prepare: BigInt(prepare) };
  if (afterPosition !== '')
    throw invalidField('FIELD_OUT_OF_RANGE', 'after_position', 'a position that an earlier message named is allowed');
  return (await endOf(store)) ?? { commit: 0n, prepare: 0n };
}

const positionText = (position: Position | null): string => (position === null ? '' : `${position.commit}-${position.prepare}`);
