// A server's data folder holds only files of the server. The server replaces and removes files in it by their names.
import { readdirSync } from 'node:fs';

/** The server writes this file first, so every folder that a server has worked with has it. */
export const DATA_FOLDER_ID = 'orchestrator.id';

/** The database of the views. It is a cache: it can be made again from the events. */
export const VIEWS_FILE = 'views.sqlite';

/**
 * A file in the data folder that takes up disk space. The server removes it on a full disk, so that the commands that free space can run.
 */
export const RESERVE_FILE = 'reserve';

/** A server of a release without the id leaves these two files. The lock alone is left by a start that was cut short. */
const OF_EARLIER_RELEASES = ['orchestrator.lock', VIEWS_FILE];

/** The file in a data folder with the token that the clients of its server show. Only the server's user can read it. */
export const TOKEN_FILE = 'token';

/**
 * The file in a data folder with the secret that signs browsers' cookies. It outlives restarts, so a page that is open when the server
 * restarts stays logged in. Only the server's user can read it.
 */
export const COOKIE_KEY_FILE = 'cookie.key';

/**
 * Entries that may lie in the folder before the server's first start: leftovers of a start that was cut short, a restored event store,
 * copied artifacts, and the `lost+found` of a file system's root.
 */
const BEGINNINGS = /^(orchestrator\.lock(-\w+)?|espalier\.json|server\.log(\.1)?|event-store|artifacts|lost\+found)$/;

/** Returns the name of an entry that no server made; undefined where the folder is new, empty or a server's. */
export function foreignInDataFolder(path: string): string | undefined {
  const names = namesIn(path);
  const isOurs = names.includes(DATA_FOLDER_ID) || OF_EARLIER_RELEASES.every((name) => names.includes(name));
  return isOurs ? undefined : names.find((name) => !BEGINNINGS.test(name));
}

export function foreignDataFolderText(path: string, name: string): string {
  return `${path} is not a data folder of Espalier: it holds ${JSON.stringify(name)}; a new or empty folder is allowed`;
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
