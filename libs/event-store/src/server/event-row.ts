import { checksumOf, TOMBSTONE_REVISION, type EventRecord } from './event-record.js';
import { EventCorrupt, type EventPlace } from './refusals.js';

/** A row of the table `events`. */
export interface EventRow {
  position: number;
  stream_id: number;
  revision: number;
  event_id: Buffer;
  type: string;
  is_json: number;
  created_us: number;
  data: Buffer;
  metadata: Buffer;
  checksum: number;
}

export const EVENT_COLUMNS = 'position, stream_id, revision, event_id, type, is_json, created_us, data, metadata, checksum';

/** The event, or what is wrong with it. */
export function checkedRecord(row: EventRow, stream: string): EventRecord | EventCorrupt {
  const record = recordOf(row, stream);
  return isWhole(record, row) ? record : new EventCorrupt(placeOf(row, stream));
}

function recordOf(row: EventRow, stream: string): EventRecord {
  return {
    position: row.position,
    stream,
    revision: row.revision,
    eventId: row.event_id,
    type: row.type,
    isJson: row.is_json === 1,
    createdUs: row.created_us,
    data: row.data,
    metadata: row.metadata,
  };
}

/**
 * Where a reader that passes over the row goes on from. A damaged revision may be no number any more: SQLite then sorts it
 * behind all numbers.
 */
function placeOf(row: EventRow, stream: string): EventPlace {
  return { stream, position: row.position, revision: Number.isFinite(row.revision) ? Math.trunc(row.revision) : TOMBSTONE_REVISION - 1 };
}

/** Also by the kinds of its values: SQLite keeps a kind with each value, and one changed byte makes a number of no bytes. */
function isWhole(record: EventRecord, row: EventRow): boolean {
  const bytes = [row.event_id, row.data, row.metadata].every((value) => Buffer.isBuffer(value));
  const hasKinds = bytes && typeof row.type === 'string' && (row.is_json === 0 || row.is_json === 1);
  return hasKinds && checksumOf(record.stream, record) === row.checksum;
}
