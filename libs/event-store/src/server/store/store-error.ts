import { halfBuiltText } from '#files';

/** The codes of the embedded server. They reach the client in messages, and the parent process at the start. */
export type StoreErrorCode =
  | 'STORE_LOCKED'
  | 'STORE_CORRUPT'
  | 'STORE_DISK_FULL'
  | 'STORE_READ_ONLY'
  | 'STORE_SCHEMA_TOO_NEW'
  | 'STORE_SCHEMA_TOO_OLD'
  | 'STORE_NOT_FOUND'
  | 'STORE_RESTORE_UNFINISHED'
  | 'STORE_FOLDER_UNUSABLE'
  | 'STORE_ADDRESS_UNUSABLE'
  | 'STORE_TLS_UNUSABLE'
  | 'STORE_STOPPING'
  | 'STORE_FAILED';

export class StoreError extends Error {
  constructor(
    readonly code: StoreErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'StoreError';
  }
}

const SQLITE_CODES: [prefix: string, code: StoreErrorCode, hint: string][] = [
  ['SQLITE_FULL', 'STORE_DISK_FULL', 'no space is left on the disk of the event store; free some and try again'],
  ['SQLITE_IOERR_WRITE', 'STORE_DISK_FULL', 'the event store could not write to its disk'],
  ['SQLITE_IOERR_FSYNC', 'STORE_DISK_FULL', 'the event store could not make a write durable'],
  ['SQLITE_IOERR_SHMSIZE', 'STORE_DISK_FULL', 'the event store could not grow its shared memory file'],
  ['SQLITE_READONLY', 'STORE_READ_ONLY', 'the folder or database of the event store is read-only'],
  ['SQLITE_CANTOPEN', 'STORE_FOLDER_UNUSABLE', 'the event store could not open its database file'],
  ['SQLITE_CORRUPT', 'STORE_CORRUPT', 'the database of the event store is damaged; restore a backup'],
  ['SQLITE_NOTADB', 'STORE_CORRUPT', 'the database file of the event store is not a database; restore a backup'],
  ['SQLITE_BUSY', 'STORE_LOCKED', 'another process holds the event store'],
];

/** Gives an error of SQLite or the file system its code. An unknown error keeps its text and gets the code STORE_FAILED. */
export function toStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const code = (error as { code?: unknown }).code;
  const text = error instanceof Error ? error.message : String(error);
  const known = SQLITE_CODES.find(([prefix]) => typeof code === 'string' && code.startsWith(prefix));
  if (known) return new StoreError(known[1], `${known[2]} (${code as string}: ${text})`, { cause: error });
  if (code === 'ENOSPC') return new StoreError('STORE_DISK_FULL', `no space is left on the disk (${text})`, { cause: error });
  if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM') {
    return new StoreError('STORE_READ_ONLY', `the folder of the event store is not writable (${text})`, { cause: error });
  }
  return new StoreError('STORE_FAILED', halfBuiltText(error) ?? text, { cause: error });
}
