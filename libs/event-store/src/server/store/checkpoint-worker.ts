import Database from 'better-sqlite3';
import { parentPort, workerData } from 'node:worker_threads';

const database = new Database((workerData as { file: string }).file);
database.pragma('synchronous = FULL');
parentPort!.on('message', () => {
  try {
    database.pragma('wal_checkpoint(PASSIVE)');
  } catch {
    // The database is busy or the disk is full: the next round tries again.
  }
  parentPort!.postMessage('done');
});
