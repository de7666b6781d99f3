import { checksumOf, type EventRecord } from './event-record.js';
import { EventCorrupt, type EventPlace } from './refusals.js';

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

/** Returns the event, or an EventCorrupt if the row is damaged. */
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
 * The place from which a reader that skips the row goes on. A damaged revision may not be a number any more: SQLite then sorts it behind
 * all numbers.
 */
function placeOf(row: EventRow, stream: string): EventPlace {
  return { stream, position: row.position, revision: Number.isFinite(row.revision) ? Math.trunc(row.revision) : Number.MAX_SAFE_INTEGER };
}

/**
 * Checks the types of the values and the checksum. SQLite keeps a type with each value, so one changed byte can turn an empty value into a
 * number.
 */
function isWhole(record: EventRecord, row: EventRow): boolean {
  const bytes = [row.event_id, row.data, row.metadata].every((value) => Buffer.isBuffer(value));
  const hasKinds = bytes && typeof row.type === 'string' && (row.is_json === 0 || row.is_json === 1);
  return hasKinds && checksumOf(record.stream, record) === row.checksum;
}
