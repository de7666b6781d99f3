// Reads a whole views' file on a thread of its own, so that nothing else waits for it; posts its first problem, or null.
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { problemIn } from './views-tables.js';

export interface ViewsCheck {
  file: string;
  /** Their names as readers use them. */
  tables: string[];
}

const { file, tables } = workerData as ViewsCheck;
const database = new Database(file, { readonly: true, timeout: 5_000 });
try {
  parentPort!.postMessage(problemIn(database, tables));
} finally {
  database.close();
}
