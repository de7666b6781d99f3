import Database from 'better-sqlite3';
import { SCHEMA } from './database.js';
import { checkedRecord, EVENT_COLUMNS, type EventRow } from './event-row.js';
import { EventCorrupt } from './refusals.js';
import { toStoreError } from './store-error.js';

export interface StoreProblem {
  /** EVENT_CORRUPT, STREAM_GAP or STORE_CORRUPT. */
  code: string;
  stream?: string;
  revision?: number;
  message: string;
}

export interface VerifyReport {
  events: number;
  streams: number;
  /** The position of the last event. */
  endPosition: number;
  problems: StoreProblem[];
}

const MOST_REPORTED = 100;

/** Checks the whole database: the pages of the file, the checksum of each event, and each stream for gaps. */
export function verifyDatabase(database: Database.Database): VerifyReport {
  const report: VerifyReport = { events: 0, streams: 0, endPosition: 0, problems: [] };
  const add = (problem: StoreProblem) => {
    if (report.problems.length < MOST_REPORTED) report.problems.push(problem);
  };
  try {
    for (const message of database.pragma('integrity_check') as { integrity_check: string }[]) {
      if (message.integrity_check !== 'ok') add({ code: 'STORE_CORRUPT', message: message.integrity_check });
    }
    checkSchema(database, add);
    checkEvents(database, report, add);
    checkGaps(database, add);
    report.streams = database.prepare<[], number>('SELECT count(*) FROM streams').pluck().get() ?? 0;
  } catch (error) {
    add({ code: 'STORE_CORRUPT', message: toStoreError(error).message });
  }
  return report;
}

/** Checks the descriptions of the tables, which are bytes of the file too. */
function checkSchema(database: Database.Database, add: (problem: StoreProblem) => void): void {
  const reference = new Database(':memory:');
  reference.exec(SCHEMA);
  const tables = (of: Database.Database) =>
    of.prepare<[], [string, string | null]>('SELECT name, sql FROM sqlite_schema ORDER BY name').raw().all();
  const expected = new Map(tables(reference));
  reference.close();
  const found = new Map(tables(database));
  for (const name of new Set([...expected.keys(), ...found.keys()])) {
    if (found.get(name) === expected.get(name)) continue;
    add({ code: 'STORE_CORRUPT', message: `the description of "${name}" is not that of a store of this version` });
  }
}

function checkEvents(database: Database.Database, report: VerifyReport, add: (problem: StoreProblem) => void): void {
  const names = new Map(database.prepare<[], [number, string]>('SELECT id, name FROM streams').raw().all());
  const rows = database.prepare<[], EventRow>(`SELECT ${EVENT_COLUMNS} FROM events ORDER BY position`);
  for (const row of rows.iterate()) {
    report.events += 1;
    report.endPosition = row.position;
    const read = checkedRecord(row, names.get(row.stream_id) ?? '');
    if (!(read instanceof EventCorrupt)) continue;
    const { stream, revision } = read.place;
    add({ code: 'EVENT_CORRUPT', stream, revision, message: read.problem });
  }
}

/** Checks that the revisions of each stream run from 0 without a gap, since events are never removed. */
function checkGaps(database: Database.Database, add: (problem: StoreProblem) => void): void {
  const rows = database.prepare<[], { stream: string; found: number; last: number }>(
    `SELECT s.name AS stream, count(*) AS found, max(e.revision) AS last
     FROM events e JOIN streams s ON s.id = e.stream_id
     GROUP BY e.stream_id HAVING found <> last + 1`,
  );
  for (const { stream, found, last } of rows.iterate()) {
    add({ code: 'STREAM_GAP', stream, message: `stream "${stream}" ends at revision ${last} but holds ${found} events` });
  }
}
