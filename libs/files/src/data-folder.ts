// A server's data folder holds only files of the server. The server replaces and removes files in it by their names.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The server writes this file first, so every folder that a server has worked with has it. */
export const DATA_FOLDER_ID = 'orchestrator.id';

/** The database of the views. It is a cache: it can be made again from the events. */
export const VIEWS_FILE = 'views.sqlite';

/**
 * A file in the data folder that takes up disk space. The server removes it on a full disk, so that the commands that free space can run.
 */
export const RESERVE_FILE = 'reserve';

/** The file with the number of the folder's format, which a server writes before the id. */
export const DATA_FOLDER_FORMAT_FILE = 'format';

/** Grows with each change of what a data folder holds that another release could not read. */
export const DATA_FOLDER_FORMAT = '1';

/** The file in a data folder with the token that the clients of its server show. Only the server's user can read it. */
export const TOKEN_FILE = 'token';
/** The folder of the fleet, which a server has once it was started with one. */
export const FLEET_FOLDER = 'fleet';

/**
 * The file in a data folder with the secret that signs browsers' cookies. It outlives restarts, so a page that is open when the server
 * restarts stays logged in. Only the server's user can read it.
 */
export const COOKIE_KEY_FILE = 'cookie.key';

/**
 * Entries that may lie in the folder before the server's first start: leftovers of a start that was cut short, a restored event store,
 * copied artifacts, and the `lost+found` of a file system's root.
 */
const BEGINNINGS = /^(orchestrator\.lock(-\w+)?|format|espalier\.json|server\.log(\.1)?|event-store|artifacts|lost\+found)$/;

/** Returns the name of an entry that no server made; undefined where the folder is new, empty or a server's. */
export function foreignInDataFolder(path: string): string | undefined {
  const names = namesIn(path);
  return names.includes(DATA_FOLDER_ID) ? undefined : names.find((name) => !BEGINNINGS.test(name));
}

export function foreignDataFolderText(path: string, name: string): string {
  return `${path} is not a data folder of Espalier: it holds ${JSON.stringify(name)}; a new or empty folder is allowed`;
}

/** Says what to do with a data folder of another format; undefined where the folder is new or has this release's format. */
export function otherFormatText(path: string): string | undefined {
  const names = namesIn(path);
  if (!names.includes(DATA_FOLDER_ID)) return undefined;
  const format = names.includes(DATA_FOLDER_FORMAT_FILE) ? readFileSync(join(path, DATA_FOLDER_FORMAT_FILE), 'utf8').trim() : '';
  if (format === DATA_FOLDER_FORMAT) return undefined;
  const whose = format === '' ? 'is of a build before release 0.1.0' : `is of another release: its format is ${format}`;
  return (
    `the data folder ${path} ${whose}, and this release reads format ${DATA_FOLDER_FORMAT}. Nothing is changed: ` +
    'use another --data-folder here, or start that build for this one'
  );
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
