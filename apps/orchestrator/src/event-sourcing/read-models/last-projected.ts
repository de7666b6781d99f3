// Reads which event a file of read models ends with. The file may have any version of the schema.
import Database from 'better-sqlite3';
import { existsSync } from 'node:fs';
import type { SeenEvent } from '#event-store';
import { addSums } from './views-tables.js';

interface Row {
  position: string | null;
  stream: string | null;
  revision: number | null;
  id: string | null;
}

/** Returns null where the file is missing, empty or unreadable. */
export function lastProjected(file: string): SeenEvent | null {
  if (!existsSync(file)) return null;
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { readonly: true, fileMustExist: true });
    addSums(database, (problem) => new Error(problem)); // a table that lacks its sum is read all the same
    const row = database
      .prepare<[], Row>(
        'SELECT position_commit AS position, last_stream AS stream, last_revision AS revision, last_event_id AS id FROM projection',
      )
      .get();
    if (row === undefined || row.position === null || row.stream === null || row.revision === null) return null;
    return { position: BigInt(row.position), stream: row.stream, revision: BigInt(row.revision), id: row.id };
  } catch {
    return null; // the views make an unreadable file again
  } finally {
    database?.close();
  }
}
