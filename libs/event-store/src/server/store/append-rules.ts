import type Database from 'better-sqlite3';
import { bytesToUuid, type ProposedEvent } from './event-record.js';
import { RepeatDiffers, WrongExpectedVersion, type Expected } from './refusals.js';
import type { StreamHead, StreamHeads } from './stream-heads.js';

/**
 * `write`: the events are written after the last revision. `repeat`: the same events are stored already, so this is a retry, which gets the
 * first answer again.
 */
export type AppendDecision = { kind: 'write' } | { kind: 'repeat'; revision: number; position: number };

interface StoredBytes {
  event_id: Buffer;
  position: number;
  type: string;
  is_json: number;
  data: Buffer;
  metadata: Buffer;
}

/** Decides about an append by the stream's state alone. It writes nothing. */
export class AppendRules {
  private readonly selectById;
  private readonly selectAt;

  constructor(
    database: Database.Database,
    private readonly heads: StreamHeads,
  ) {
    // The index has to be named: by itself SQLite takes the index that gives the order, and walks through the whole stream.
    this.selectById = database.prepare<[number, Buffer], { revision: number }>(
      'SELECT revision FROM events INDEXED BY events_by_id WHERE stream_id = ? AND event_id = ? ORDER BY revision DESC LIMIT 1',
    );
    this.selectAt = database.prepare<[number, number], StoredBytes>(
      'SELECT event_id, position, type, is_json, data, metadata FROM events WHERE stream_id = ? AND revision = ?',
    );
  }

  /** @throws WrongExpectedVersion, RepeatDiffers */
  decide(stream: string, events: ProposedEvent[], expected: Expected): AppendDecision {
    const head = this.heads.find(stream);
    const lastRevision = head?.lastRevision ?? -1;
    if (expected === 'no_stream' && lastRevision < 0) return { kind: 'write' };
    if (expected === 'stream_exists' && lastRevision < 0) throw new WrongExpectedVersion(stream, expected, -1);
    if (expected === lastRevision) return { kind: 'write' };
    if (typeof expected === 'number' && expected > lastRevision) throw new WrongExpectedVersion(stream, expected, lastRevision);
    if (!head) return { kind: 'write' };
    const startsAt = this.startOfRepeat(head, events, expected);
    if (startsAt === undefined) return { kind: 'write' };
    const repeat = this.repeatFrom(head, events, startsAt);
    if (!repeat) throw new WrongExpectedVersion(stream, expected, lastRevision);
    return repeat;
  }

  /** Returns the revision at which a retry would have written its first event; undefined if these events are new. */
  private startOfRepeat(head: StreamHead, events: ProposedEvent[], expected: Expected): number | undefined {
    if (expected === 'no_stream') return 0;
    if (typeof expected === 'number') return expected + 1;
    const first = events[0];
    return first && this.selectById.get(head.id, first.eventId)?.revision;
  }

  private repeatFrom(head: StreamHead, events: ProposedEvent[], start: number): AppendDecision | undefined {
    let position = 0;
    for (const [index, event] of events.entries()) {
      const stored = this.selectAt.get(head.id, start + index);
      if (!stored?.event_id.equals(event.eventId)) return undefined;
      if (!holds(stored, event)) throw new RepeatDiffers(head.name, start + index, bytesToUuid(event.eventId));
      position = stored.position;
    }
    return events.length === 0 ? undefined : { kind: 'repeat', revision: start + events.length - 1, position };
  }
}

/**
 * Tells whether the stored event equals the sent one. A client that sends an event's id again with other bytes must not believe that those
 * bytes are stored.
 */
function holds({ type, is_json, data, metadata }: StoredBytes, event: ProposedEvent): boolean {
  return type === event.type && (is_json === 1) === event.isJson && event.data.equals(data) && event.metadata.equals(metadata);
}
