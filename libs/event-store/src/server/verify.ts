import type Database from 'better-sqlite3';
import { checksumOf, TOMBSTONE_REVISION } from './event-record.js';
import { toStoreError } from './store-error.js';

export interface StoreProblem {
  /** EVENT_CORRUPT, STREAM_GAP, STORE_CORRUPT */
  code: string;
  stream?: string;
  revision?: number;
  message: string;
}

export interface VerifyReport {
  events: number;
  streams: number;
  /** Position of the last event. */
  endPosition: number;
  problems: StoreProblem[];
}

interface Row {
  position: number;
  stream: string;
  revision: number;
  event_id: Buffer;
  type: string;
  is_json: number;
  created_us: number;
  data: Buffer;
  metadata: Buffer;
  checksum: number;
}

const MOST_REPORTED = 100;

/** Reads everything: the pages of the file, each event against its checksum, each stream for gaps. */
export function verifyDatabase(database: Database.Database): VerifyReport {
  const report: VerifyReport = { events: 0, streams: 0, endPosition: 0, problems: [] };
  const add = (problem: StoreProblem) => {
    if (report.problems.length < MOST_REPORTED) report.problems.push(problem);
  };
  try {
    for (const message of database.pragma('integrity_check') as { integrity_check: string }[]) {
      if (message.integrity_check !== 'ok') add({ code: 'STORE_CORRUPT', message: message.integrity_check });
    }
    checkEvents(database, report, add);
    checkGaps(database, add);
    report.streams = database.prepare<[], number>('SELECT count(*) FROM streams').pluck().get() ?? 0;
  } catch (error) {
    add({ code: 'STORE_CORRUPT', message: toStoreError(error).message });
  }
  return report;
}

function checkEvents(database: Database.Database, report: VerifyReport, add: (problem: StoreProblem) => void): void {
  const rows = database.prepare<[], Row>(
    `SELECT e.position, s.name AS stream, e.revision, e.event_id, e.type, e.is_json, e.created_us, e.data, e.metadata,
            e.checksum
     FROM events e LEFT JOIN streams s ON s.id = e.stream_id ORDER BY e.position`,
  );
  for (const row of rows.iterate()) {
    report.events += 1;
    report.endPosition = row.position;
    const event = { ...row, eventId: row.event_id, isJson: row.is_json === 1, createdUs: row.created_us };
    if (checksumOf(row.stream, event) === row.checksum) continue;
    const { stream, revision } = row;
    add({
      code: 'EVENT_CORRUPT',
      stream,
      revision,
      message: `event ${revision} of stream "${stream}" does not match its checksum`,
    });
  }
}

/** Events are never removed, so the revisions of a stream run from 0 without a gap. */
function checkGaps(database: Database.Database, add: (problem: StoreProblem) => void): void {
  const rows = database.prepare<[], { stream: string; found: number; last: number }>(
    `SELECT s.name AS stream, count(*) AS found, max(e.revision) AS last
     FROM events e JOIN streams s ON s.id = e.stream_id WHERE e.revision < ${TOMBSTONE_REVISION}
     GROUP BY e.stream_id HAVING found <> last + 1`,
  );
  for (const { stream, found, last } of rows.iterate()) {
    add({ code: 'STREAM_GAP', stream, message: `stream "${stream}" ends at revision ${last} but holds ${found} events` });
  }
}
