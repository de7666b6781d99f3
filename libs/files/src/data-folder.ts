// A server's data folder holds only files of the server, which replaces and removes files in it by their names.
import { readdirSync } from 'node:fs';

/** Written first, so that every folder that a server has worked with has it. */
export const DATA_FOLDER_ID = 'orchestrator.id';

/** A cache of what the events tell. */
export const VIEWS_FILE = 'views.sqlite';

/** In a data folder: room that its server sets aside, for what frees space where no other room is left. */
export const RESERVE_FILE = 'reserve';

/** A server of a release before the id leaves these two. The lock alone is that of a start that was cut short. */
const OF_EARLIER_RELEASES = ['orchestrator.lock', VIEWS_FILE];

/** In a data folder: what the clients of its server show; readable by the server's user only. */
export const TOKEN_FILE = 'token';

/** In a data folder: by which browsers are known again; readable by the server's user only. */
export const COOKIE_KEY_FILE = 'cookie.key';

/** Entries that may lie there before the first start: a start cut short, a restored store, copied artifacts, the root of a file system. */
const BEGINNINGS = /^(orchestrator\.lock(-\w+)?|espalier\.json|server\.log(\.1)?|event-store|artifacts|lost\+found)$/;

/** The name of a foreign entry in the folder; undefined in a folder that is new, empty or ours. */
export function foreignInDataFolder(path: string): string | undefined {
  const names = namesIn(path);
  const isOurs = names.includes(DATA_FOLDER_ID) || OF_EARLIER_RELEASES.every((name) => names.includes(name));
  return isOurs ? undefined : names.find((name) => !BEGINNINGS.test(name));
}

export function foreignDataFolderText(path: string, name: string): string {
  return `${path} is no data folder of Espalier: it holds ${JSON.stringify(name)}; a new or empty folder is allowed`;
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
