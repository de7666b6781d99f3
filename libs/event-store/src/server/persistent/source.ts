import { compileFilter, type EventFilter } from '../event-filter.js';
import type { ResolvedEvent } from '../event-encoding.js';
import { bytesToUuid, type EventRecord } from '../event-record.js';
import { resolveLink } from '../links.js';
import type { Store } from '../store.js';
import type { Message } from './consumer.js';
import type { GroupDefinition } from './settings.js';

export const ALL = '$all';

export interface SourceChunk {
  messages: Message[];
  /** Last sequence looked at, wanted or not. */
  scannedTo: number | undefined;
}

/**
 * Reads a stream or $all for a group. Sequences are revisions of the stream or positions of $all. Damaged events are passed
 * over: a group that waited for one would deliver nothing ever after.
 */
export class Source {
  private readonly filter: EventFilter | undefined;
  private readonly resolveLinks: boolean;

  constructor(
    private readonly store: Store,
    readonly name: string,
    definition: GroupDefinition,
  ) {
    this.filter = compileFilter(definition.filter);
    this.resolveLinks = definition.settings.resolveLinks;
  }

  read(from: number, limit: number): SourceChunk {
    const { log, reader } = this.store;
    if (this.name === ALL) {
      const chunk = reader.readAll(from, 'forwards', this.filter, limit, Number.MAX_SAFE_INTEGER);
      return { messages: chunk.records.map((record) => this.messageOf(record)), scannedTo: chunk.scannedTo };
    }
    const head = log.heads.find(this.name);
    if (!head || head.tombstoned || head.lastRevision < from) return { messages: [], scannedTo: undefined };
    const chunk = reader.readStream(head, from, 'forwards', limit);
    return {
      messages: chunk.records.map((record) => this.messageOf(record)),
      scannedTo: chunk.next >= 0 ? chunk.next - 1 : undefined,
    };
  }

  /** Sequence of the newest event; undefined: no event. */
  lastKnown(): number | undefined {
    const last = this.name === ALL ? this.store.log.endPosition : (this.store.log.heads.find(this.name)?.lastRevision ?? -1);
    return last > 0 || (last === 0 && this.name !== ALL) ? last : undefined;
  }

  /** A parked message comes back from where it was parked, without a place in the source's order. */
  replay(origin: Message['origin']): Message | undefined {
    const record = this.store.reader.readOne(origin.stream, origin.revision);
    return record && { ...this.messageOf(record), sequence: undefined };
  }

  listen(wake: () => void): () => void {
    return this.store.wakeUps.listen(this.name === ALL ? undefined : this.name, wake);
  }

  private messageOf(record: EventRecord): Message {
    const resolved: ResolvedEvent = this.resolveLinks ? resolveLink(this.store.reader, record) : { event: record };
    return {
      resolved,
      eventId: bytesToUuid(record.eventId),
      sequence: this.name === ALL ? record.position : record.revision,
      origin: { stream: record.stream, revision: record.revision },
      retryCount: 0,
    };
  }
}
