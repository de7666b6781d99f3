// The data folder of an orchestrator, which one process at a time may use. The lock is SQLite's: the operating system drops it when the
// process dies, however it dies, so no stale lock ever remains. Only the server's user can read the folder and all in it.
import { readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import {
  COOKIE_KEY_FILE,
  DATA_FOLDER_FORMAT,
  DATA_FOLDER_FORMAT_FILE,
  DATA_FOLDER_ID,
  faultOfFolder,
  faultWords,
  folderMark,
  foreignDataFolderText,
  foreignInDataFolder,
  halfBuiltText,
  makeFolder,
  otherFormatText,
  renewSecretFile,
  restrictToOwner,
  TOKEN_FILE,
} from '#files';
import { EspalierError } from '#protocol';
import { startWithPartOfReserve } from './space-reserve.js';

const ANNOUNCEMENT = 'espalier.json';

export class DataFolder {
  private constructor(
    readonly path: string,
    /** The id of the folder, which stays the same across restarts. */ readonly id: string,
    private readonly lock: Database.Database,
  ) {}

  /** @throws EspalierError DATA_FOLDER_IN_USE, _UNUSABLE, _FOREIGN, _OF_OTHER_RELEASE, INSTALLATION_INCOMPLETE */
  static open(path: string): DataFolder {
    try {
      makeFolder(path);
      const foreign = foreignInDataFolder(path);
      if (foreign !== undefined) throw new EspalierError('DATA_FOLDER_FOREIGN', foreignDataFolderText(path, foreign));
      const otherFormat = otherFormatText(path);
      if (otherFormat !== undefined) throw new EspalierError('DATA_FOLDER_OF_OTHER_RELEASE', otherFormat);
      restrictToOwner(realpathSync(path));
      startWithPartOfReserve(path); // the lock needs free space, too
      const lock = new Database(join(path, 'orchestrator.lock'), { timeout: 0 });
      lock.pragma('locking_mode = EXCLUSIVE');
      lock.exec('BEGIN IMMEDIATE');
      const folder = new DataFolder(path, idOf(path), lock);
      rmSync(join(path, TOKEN_FILE), { force: true }); // the token of a server that was killed
      folder.write({ pid: process.pid }); // tells which process has the folder before its address is known
      return folder;
    } catch (error) {
      if (error instanceof EspalierError) throw error;
      const halfBuilt = halfBuiltText(error);
      if (halfBuilt !== null) throw new EspalierError('INSTALLATION_INCOMPLETE', halfBuilt, { cause: error });
      if (String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) {
        throw new EspalierError(
          'DATA_FOLDER_IN_USE',
          `another orchestrator works with ${path}${holder(path)}: stop it, or use another --data-folder`,
        );
      }
      throw new EspalierError('DATA_FOLDER_UNUSABLE', unusableText(path, error as NodeJS.ErrnoException), { cause: error });
    }
  }

  /** Tells the command line where to find the server. */
  announce(listen: string, web: string | null, tls: { authority: string; name: string } | null): void {
    const secure = tls === null ? {} : { tls: { authority: tls.authority, name: tls.name } };
    this.write({ listen, ...(web === null ? {} : { web }), ...secure, pid: process.pid });
  }

  /**
   * The secret that signs browsers' cookies. It outlives restarts, so a page that is open when the server restarts stays logged in. It is
   * read again each time, because `espalier open --forget-browsers` replaces it.
   */
  cookieKey(): string {
    const file = join(this.path, COOKIE_KEY_FILE);
    try {
      const key = readFileSync(file, 'utf8').trim();
      if (key !== '') return key;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    return renewSecretFile(file);
  }

  /**
   * Makes the token that clients must show from now on. Each start makes a new one. So a program that took the port of a stopped server,
   * and was shown the old token, can't use it.
   */
  newToken(): string {
    return renewSecretFile(join(this.path, TOKEN_FILE));
  }

  /** Writes the announcement with the folder's mark, so that a copy of the folder announces no server. */
  private write(announcement: object): void {
    try {
      const text = JSON.stringify({ ...announcement, folder: folderMark(this.path) });
      writeFileSync(join(this.path, ANNOUNCEMENT), `${text}\n`);
    } catch (error) {
      throw new EspalierError('DATA_FOLDER_UNUSABLE', `the data folder ${this.path} can't be written: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  close(): void {
    for (const name of [ANNOUNCEMENT, TOKEN_FILE]) rmSync(join(this.path, name), { force: true });
    this.lock.close();
  }

  /** Closes the folder of a server that could not stop in good order. The announcement names no server, and tells `down` how it ended. */
  closeByForce(): void {
    rmSync(join(this.path, TOKEN_FILE), { force: true });
    this.write({ endedByForce: process.pid });
    this.lock.close();
  }
}

function holder(path: string): string {
  try {
    const { listen, pid } = JSON.parse(readFileSync(join(path, ANNOUNCEMENT), 'utf8')) as { listen?: string; pid: number };
    return ` (process ${pid}, ${listen === undefined ? 'which is starting' : `serving ${listen}`})`;
  } catch {
    return '';
  }
}

function idOf(path: string): string {
  const file = join(path, DATA_FOLDER_ID);
  try {
    const known = readFileSync(file, 'utf8').trim();
    if (known !== '') return known;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  writeFileSync(join(path, DATA_FOLDER_FORMAT_FILE), `${DATA_FOLDER_FORMAT}\n`);
  const id = randomUUID();
  writeFileSync(file, `${id}\n`);
  return id;
}

/** A volume that a cluster mounts often belongs to root, and only its owner can close it to others. */
export function unusableText(path: string, error: NodeJS.ErrnoException): string {
  const { code, message } = error;
  // SQLite tells only that a file can't be opened or written.
  const fault = code?.startsWith('SQLITE_') === true ? faultOfFolder(path) : faultWords(error);
  const why = `the data folder ${path} can't be used: ${fault ?? message}`;
  if (code !== 'EPERM') return why;
  const below = `A new folder below it would do: --data-folder ${join(path, 'espalier')}`;
  return `${why}. It belongs to another user, so this server can't close it to others. ${below}`;
}
