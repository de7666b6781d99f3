import type Database from 'better-sqlite3';
import { nowUs, type EventRecord } from './event-record.js';
import { checkedRecord, EVENT_COLUMNS, type EventRow } from './event-row.js';
import { EventCorrupt } from './refusals.js';
import type { EventFilter } from './event-filter.js';
import type { StreamHead, StreamHeads } from './stream-heads.js';

export type Direction = 'forwards' | 'backwards';

/** The events of one query. */
interface Chunk {
  records: EventRecord[];
  /** The damaged event that ended the chunk. A reader that skips damaged events goes on after it. */
  damaged: EventCorrupt | undefined;
}

export interface StreamChunk extends Chunk {
  /** The revision to go on from; -1 if there is nothing more. */
  next: number;
}

/** A chunk of $all: the events that passed the filter, and how far the scan went. */
export interface AllChunk extends Chunk {
  /** The position of the last event that was looked at; undefined if there was none. */
  scannedTo: number | undefined;
  considered: number;
  /** No event lies behind this chunk at the moment. */
  atEnd: boolean;
}

const CHUNK_EVENTS = 512;
/** The largest chunk. Chunks are held in memory, and events may have 16 MB, so a limit on their number alone is not enough. */
const LARGEST_CHUNK_BYTES = 1 << 20;
/**
 * The most memory for the chunks of all calls. Each call holds two chunks, each several times while it is being sent, so chunks become
 * smaller when there are many calls.
 */
const ALL_CHUNKS_BYTES = 8 << 20;
const SMALLEST_CHUNK_BYTES = 16 << 10;
/**
 * A filtered read that begins further than this before the end goes by streams, if it wants few of them. Positions grow by the size of each
 * event, so this is about the number of bytes that a scan would have to read.
 */
const FAR_FROM_END_BYTES = 1 << 20;
const FEW_STREAMS = 1_000;
const FEW_EVENTS = 20_000;
/** The reading half of the store. Each call makes one short query, and callers go on from the end of the chunk. */
export class EventReader {
  private readonly forwards;
  private readonly backwards;
  private readonly allForwards;
  private readonly allBackwards;
  private readonly scanForwards;
  private readonly scanBackwards;
  private readonly byPosition;
  private readonly end;
  private readonly streamsFrom;
  private readonly positionsOf;
  private readonly rangeForwards;
  private readonly rangeBackwards;
  private calls = 0;
  /**
   * The last chunk read. After a commit many subscribers read the same at the same moment. It is forgotten soon, since the file may change.
   */
  private latest: { key: string; chunk: StreamChunk } | undefined;

  constructor(
    database: Database.Database,
    private readonly heads: StreamHeads,
  ) {
    const prepare = (where: string) => database.prepare<unknown[], EventRow>(`SELECT ${EVENT_COLUMNS} FROM events WHERE ${where}`);
    const scan = (where: string) =>
      database.prepare<unknown[], [number, number, string]>(`SELECT position, stream_id, type FROM events WHERE ${where}`).raw();
    this.forwards = prepare(`stream_id = ? AND revision >= ? ORDER BY revision LIMIT ?`);
    this.backwards = prepare(`stream_id = ? AND revision <= ? AND revision >= ? ORDER BY revision DESC LIMIT ?`);
    this.allForwards = prepare('position >= ? ORDER BY position LIMIT ?');
    this.allBackwards = prepare('position < ? ORDER BY position DESC LIMIT ?');
    this.scanForwards = scan('position >= ? ORDER BY position LIMIT ?');
    this.scanBackwards = scan('position < ? ORDER BY position DESC LIMIT ?');
    this.byPosition = prepare('position = ?');
    this.end = database.prepare<[], number | null>('SELECT max(position) FROM events').pluck();
    this.streamsFrom = database.prepare<[string], string>('SELECT name FROM streams WHERE name >= ? ORDER BY name').pluck();
    // The index by stream and revision holds positions too, so the events themselves are not read.
    this.positionsOf = database
      .prepare<[number, number], number>('SELECT position FROM events WHERE stream_id = ? AND position >= ?')
      .pluck();
    this.rangeForwards = prepare('position BETWEEN ? AND ? ORDER BY position');
    this.rangeBackwards = prepare('position BETWEEN ? AND ? ORDER BY position DESC');
  }

  /** Counts a call that reads several chunks, since all calls share the memory. @returns a function to call when the call ends */
  enter(): () => void {
    this.calls += 1;
    return () => {
      this.calls -= 1;
    };
  }

  private get chunkBytes(): number {
    return Math.min(LARGEST_CHUNK_BYTES, Math.max(SMALLEST_CHUNK_BYTES, ALL_CHUNKS_BYTES / Math.max(1, this.calls)));
  }

  /** The first revision that $maxCount and $tb leave visible. */
  firstVisible(head: StreamHead): number {
    const { maxCount, truncateBefore } = this.heads.metadataOf(head);
    const byCount = maxCount === undefined ? 0 : head.lastRevision - maxCount + 1;
    return Math.max(0, truncateBefore, byCount);
  }

  /** @param from the first revision, inclusive; @returns events in the order of reading; no events if there is nothing more */
  readStream(head: StreamHead, from: number, direction: Direction, limit: number): StreamChunk {
    const first = this.firstVisible(head);
    const maxAge = this.heads.metadataOf(head).maxAgeSeconds;
    const oldestUs = maxAge === undefined ? 0 : nowUs() - maxAge * 1e6;
    const count = Math.min(limit, CHUNK_EVENTS);
    const key = `${head.id} ${from} ${direction} ${first} ${oldestUs} ${count} ${head.lastRevision} ${this.chunkBytes}`;
    if (this.latest?.key === key) return this.latest.chunk;
    const rows =
      direction === 'forwards'
        ? this.forwards.iterate(head.id, Math.max(from, first), count)
        : this.backwards.iterate(head.id, from, first, count);
    const step = direction === 'forwards' ? 1 : -1;
    const { records, damaged } = this.check(takeChunk(rows, this.chunkBytes));
    const last = damaged?.place ?? records.at(-1);
    const chunk = { records: records.filter(({ createdUs }) => createdUs >= oldestUs), damaged, next: last ? last.revision + step : -1 };
    if (this.latest === undefined)
      setImmediate(() => {
        this.latest = undefined;
      });
    this.latest = { key, chunk };
    return chunk;
  }

  /**
   * @param from forwards: the first position to look at; backwards: only positions below it are read
   * @param limit the most events to return; @param window the most events to look at
   */
  readAll(from: number, direction: Direction, filter: EventFilter | undefined, limit: number, window: number): AllChunk {
    return filter
      ? this.scanAll(from, direction, filter, limit, Math.min(window, 2048))
      : this.plainAll(from, direction, Math.min(limit, window, CHUNK_EVENTS));
  }

  private plainAll(from: number, direction: Direction, count: number): AllChunk {
    const rows = takeChunk((direction === 'forwards' ? this.allForwards : this.allBackwards).iterate(from, count), this.chunkBytes);
    const { records, damaged } = this.check(rows);
    return {
      records,
      damaged,
      scannedTo: damaged?.place.position ?? rows.at(-1)?.position,
      considered: rows.length,
      atEnd: rows.length === 0,
    };
  }

  /**
   * Looks only at names and types, and then fetches the events that passed, so a filter that passes few events costs little. The events are
   * fetched one by one, or as a range if most passed.
   */
  private scanAll(from: number, direction: Direction, filter: EventFilter, limit: number, window: number): AllChunk {
    const byStream = direction === 'forwards' ? this.readByStream(from, filter, Math.min(limit, CHUNK_EVENTS), window) : undefined;
    if (byStream !== undefined) return byStream;
    const scan = direction === 'forwards' ? this.scanForwards : this.scanBackwards;
    const most = Math.min(limit, CHUNK_EVENTS);
    const wanted: number[] = [];
    let scannedTo: number | undefined;
    let considered = 0;
    for (const [position, streamId, type] of scan.iterate(from, window)) {
      scannedTo = position;
      considered += 1;
      if (!filter.passes(this.heads.nameOf(streamId), type)) continue;
      wanted.push(position);
      if (wanted.length >= most) break;
    }
    return this.chunkOf(this.fetch(wanted, direction, wanted.length > considered / 2), { wanted, scannedTo, considered });
  }

  /**
   * Reads on from a place far before the end, where few events of few streams are wanted: a scan would read the whole file to find them.
   * @returns undefined where a scan does better
   */
  private readByStream(from: number, { streamPrefixes }: EventFilter, most: number, window: number): AllChunk | undefined {
    const end = this.end.get() ?? 0;
    if (streamPrefixes.length === 0 || end - from < FAR_FROM_END_BYTES) return undefined;
    const heads = this.fewStreams(streamPrefixes);
    if (heads === undefined) return undefined;
    const positions = new Set(heads.flatMap(({ id }) => this.positionsOf.all(id, from)));
    const sorted = [...positions].sort((left, right) => left - right);
    const wanted = sorted.slice(0, most);
    // After the last wanted event all up to the end counts as looked at, so that a subscriber gets a checkpoint there.
    const isLast = wanted.length === sorted.length;
    const scannedTo = isLast ? end : wanted.at(-1);
    return this.chunkOf(this.fetch(wanted, 'forwards', false), { wanted, scannedTo, considered: isLast ? window : wanted.length });
  }

  /** @returns undefined where the streams or their events are many */
  private fewStreams(prefixes: readonly string[]): StreamHead[] | undefined {
    const heads: StreamHead[] = [];
    let events = 0;
    for (const prefix of prefixes) {
      for (const name of this.streamsFrom.iterate(prefix)) {
        if (!name.startsWith(prefix)) break;
        const head = this.heads.find(name)!;
        events += head.lastRevision + 1;
        if (heads.push(head) > FEW_STREAMS || events > FEW_EVENTS) return undefined;
      }
    }
    return heads;
  }

  private chunkOf(
    rows: EventRow[],
    { wanted, scannedTo, considered }: { wanted: number[] } & Pick<AllChunk, 'scannedTo' | 'considered'>,
  ): AllChunk {
    const { records, damaged } = this.check(rows);
    // A chunk of large events is cut short, and a damaged event ends a chunk. The scan then counts only up to the chunk's last event.
    if (damaged || rows.length < wanted.length) {
      scannedTo = damaged?.place.position ?? rows.at(-1)!.position;
      considered = rows.length;
    }
    return { records, damaged, scannedTo, considered, atEnd: scannedTo === undefined };
  }

  private fetch(positions: number[], direction: Direction, asRange: boolean): EventRow[] {
    if (positions.length === 0) return [];
    if (!asRange) return takeChunk(this.fetchEach(positions), this.chunkBytes);
    const [first, last] = [positions[0]!, positions.at(-1)!];
    const rows = (direction === 'forwards' ? this.rangeForwards : this.rangeBackwards).iterate(
      Math.min(first, last),
      Math.max(first, last),
    );
    return takeChunk(keepOnly(rows, new Set(positions)), this.chunkBytes);
  }

  private *fetchEach(positions: number[]): IterableIterator<EventRow> {
    for (const position of positions) yield this.byPosition.get(position)!;
  }

  /** Returns the events up to the first damaged one. */
  private check(rows: EventRow[]): Chunk {
    const records: EventRecord[] = [];
    for (const row of rows) {
      const read = checkedRecord(row, this.heads.nameOf(row.stream_id));
      if (read instanceof EventCorrupt) return { records, damaged: read };
      records.push(read);
    }
    return { records, damaged: undefined };
  }
}

function* keepOnly(rows: IterableIterator<EventRow>, positions: Set<number>): IterableIterator<EventRow> {
  for (const row of rows) if (positions.has(row.position)) yield row;
}

/** The number of bytes of a value; 0 where a damaged row holds another type. */
function lengthOf(value: unknown): number {
  return Buffer.isBuffer(value) ? value.length : 0;
}

function takeChunk(rows: IterableIterator<EventRow>, mostBytes: number): EventRow[] {
  const taken: EventRow[] = [];
  let bytes = 0;
  for (const row of rows) {
    taken.push(row);
    bytes += lengthOf(row.data) + lengthOf(row.metadata);
    if (bytes >= mostBytes) break;
  }
  return taken;
}
