import type Database from 'better-sqlite3';
import { AppendRules } from './append-rules.js';
import { checksumOf, nowUs, uuidToBytes, type ProposedEvent } from './event-record.js';
import type { Expected } from './refusals.js';
import { StreamHeads, type StreamHead } from './stream-heads.js';
import { randomUUID } from 'node:crypto';

export interface AppendResult {
  /** The last revision of the stream after the append; -1 for an empty append to a stream that does not exist. */
  revision: number;
  position: number;
}

/** The room that an event takes beside its own bytes. Positions grow by it too, so they are sparse like the offsets of a log. */
const EVENT_OVERHEAD_BYTES = 64;

/**
 * The writing half of the store. Every method runs inside a transaction of the commit queue, makes its checks before it writes, and throws
 * a Refusal only while nothing is written.
 */
export class EventLog {
  readonly heads: StreamHeads;
  private readonly rules: AppendRules;
  /** The streams written since the last commit. Their readers are woken after the commit. */
  readonly touched = new Set<string>();
  private lastPosition = 0;
  private nextPosition = 0;
  private readonly insert;
  private readonly selectEnd;

  constructor(readonly database: Database.Database) {
    this.heads = new StreamHeads(database);
    this.rules = new AppendRules(database, this.heads);
    this.insert = database.prepare(
      `INSERT INTO events (position, stream_id, revision, event_id, type, is_json, created_us, data, metadata, checksum)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.selectEnd = database.prepare<[], { position: number; size: number }>(
      'SELECT position, length(data) + length(metadata) AS size FROM events ORDER BY position DESC LIMIT 1',
    );
    this.reload();
  }

  /** The position of the last event; 0 in an empty store. */
  get endPosition(): number {
    return this.lastPosition;
  }

  append(stream: string, events: ProposedEvent[], expected: Expected): AppendResult {
    const decision = this.rules.decide(stream, events, expected);
    if (decision.kind === 'repeat') return decision;
    return this.write(stream, events);
  }

  /** Writes without checks, which the caller has made. */
  write(stream: string, events: ProposedEvent[]): AppendResult {
    if (events.length === 0) return { revision: this.heads.find(stream)?.lastRevision ?? -1, position: this.lastPosition };
    const head = this.heads.findOrCreate(stream);
    for (const event of events) {
      this.insertEvent(head, head.lastRevision + 1, event);
      head.lastRevision += 1;
    }
    this.heads.forgetMetadataHeldBy(stream);
    return { revision: head.lastRevision, position: this.lastPosition };
  }

  /** Reads the state from the database again, after a rollback. */
  reload(): void {
    this.heads.clear();
    this.touched.clear();
    const end = this.selectEnd.get();
    this.lastPosition = end?.position ?? 0;
    this.nextPosition = end ? end.position + end.size + EVENT_OVERHEAD_BYTES : EVENT_OVERHEAD_BYTES;
  }

  private insertEvent(head: StreamHead, revision: number, event: ProposedEvent): void {
    const position = this.nextPosition;
    const createdUs = nowUs();
    const checksum = checksumOf(head.name, { ...event, position, revision, createdUs });
    this.insert.run(
      position,
      head.id,
      revision,
      event.eventId,
      event.type,
      event.isJson ? 1 : 0,
      createdUs,
      event.data,
      event.metadata,
      checksum,
    );
    this.lastPosition = position;
    this.nextPosition += event.data.length + event.metadata.length + EVENT_OVERHEAD_BYTES;
    this.touched.add(head.name);
  }
}

export function newJsonEvent(type: string, json: string, metadata = ''): ProposedEvent {
  return {
    eventId: uuidToBytes(randomUUID())!,
    type,
    isJson: true,
    data: Buffer.from(json),
    metadata: Buffer.from(metadata),
  };
}
