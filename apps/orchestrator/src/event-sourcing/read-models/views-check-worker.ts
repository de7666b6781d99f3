// A worker thread that reads a whole file of views, so that nothing else waits for the check. It posts the file's first problem, or null.
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { problemIn } from './views-tables.js';

export interface ViewsCheck {
  file: string;
  /** The names of the tables as readers use them. */
  tables: string[];
}

const { file, tables } = workerData as ViewsCheck;
try {
  const database = new Database(file, { readonly: true, timeout: 5_000 });
  try {
    parentPort!.postMessage(problemIn(database, tables));
  } finally {
    database.close();
  }
} catch (error) {
  // An error of SQLite loses its message on the way to another thread.
  const { code, message } = error as Error & { code?: string };
  throw new Error(`${file} can't be read: ${message} (${code})`, { cause: message });
}
