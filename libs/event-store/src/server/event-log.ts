import type Database from 'better-sqlite3';
import { AppendRules } from './append-rules.js';
import { checksumOf, nowUs, TOMBSTONE_REVISION, uuidToBytes, type ProposedEvent } from './event-record.js';
import { StreamDeleted, WrongExpectedVersion, type Expected } from './refusals.js';
import { StreamHeads, type StreamHead } from './stream-heads.js';
import { DELETED_TRUNCATE_BEFORE } from './stream-metadata.js';
import { randomUUID } from 'node:crypto';

export interface AppendResult {
  /** Last revision of the stream after the append; -1 for an empty append to no stream. */
  revision: number;
  position: number;
}

/** Room that an event takes beside its bytes; positions grow by it, so they are sparse as a real log's offsets are. */
const EVENT_OVERHEAD_BYTES = 64;

/**
 * The writing half of the store. Every method runs inside a transaction of the commit queue, checks before it writes,
 * and throws a Refusal only while nothing is written.
 */
export class EventLog {
  readonly heads: StreamHeads;
  readonly rules: AppendRules;
  /** Streams written since the last commit, for the wake-ups that follow it. */
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

  /** Position of the last event; 0 in an empty store. */
  get endPosition(): number {
    return this.lastPosition;
  }

  append(stream: string, events: ProposedEvent[], expected: Expected): AppendResult {
    const decision = this.rules.decide(stream, events, expected);
    if (decision.kind === 'repeat') return decision;
    return this.write(stream, events);
  }

  /** Writes without any check: the caller has made them. */
  write(stream: string, events: ProposedEvent[]): AppendResult {
    if (events.length === 0) return { revision: this.heads.find(stream)?.lastRevision ?? -1, position: this.lastPosition };
    const head = this.heads.findOrCreate(stream);
    if (!stream.startsWith('$$')) this.reviveIfDeleted(head);
    for (const event of events) {
      this.insertEvent(head, head.lastRevision + 1, event);
      head.lastRevision += 1;
    }
    this.heads.forgetMetadataHeldBy(stream);
    return { revision: head.lastRevision, position: this.lastPosition };
  }

  /**
   * Hides all events; the stream may be written again and then goes on after the last revision. A stream that has
   * neither events nor metadata can't be deleted, whatever revision was expected.
   */
  softDelete(stream: string, expected: Expected): AppendResult {
    const head = this.headForDelete(stream, expected);
    if (!head && !this.heads.find(`$$${stream}`)) throw new WrongExpectedVersion(stream, expected, -1);
    const raw = head ? this.heads.metadataOf(head).raw : {};
    if (!head) this.heads.findOrCreate(stream);
    return this.writeMetadata(stream, raw, DELETED_TRUNCATE_BEFORE);
  }

  /** Ends the stream for good. */
  tombstone(stream: string, expected: Expected): AppendResult {
    this.headForDelete(stream, expected);
    const head = this.heads.findOrCreate(stream);
    this.insertEvent(head, TOMBSTONE_REVISION, newJsonEvent('$streamDeleted', '{}'));
    this.heads.tombstone(head);
    return { revision: TOMBSTONE_REVISION, position: this.lastPosition };
  }

  /** After a rollback. */
  reload(): void {
    this.heads.clear();
    this.touched.clear();
    const end = this.selectEnd.get();
    this.lastPosition = end?.position ?? 0;
    this.nextPosition = end ? end.position + end.size + EVENT_OVERHEAD_BYTES : EVENT_OVERHEAD_BYTES;
  }

  private headForDelete(stream: string, expected: Expected): StreamHead | undefined {
    const head = this.heads.find(stream);
    if (head?.tombstoned) throw new StreamDeleted(stream);
    if (!this.rules.matches(stream, expected)) throw new WrongExpectedVersion(stream, expected, head?.lastRevision ?? -1);
    return head;
  }

  private reviveIfDeleted(head: StreamHead): void {
    const metadata = this.heads.metadataOf(head);
    if (metadata.softDeleted) this.writeMetadata(head.name, metadata.raw, String(head.lastRevision + 1));
  }

  private writeMetadata(stream: string, raw: Record<string, unknown>, truncateBefore: string): AppendResult {
    const { $tb: _replaced, ...kept } = raw;
    const rest = JSON.stringify(kept).slice(1, -1);
    // Put together by hand because 2^63 - 1 is beyond what JSON.stringify can write.
    const json = `{${rest}${rest ? ',' : ''}"$tb":${truncateBefore}}`;
    return this.write(`$$${stream}`, [newJsonEvent('$metadata', json)]);
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
