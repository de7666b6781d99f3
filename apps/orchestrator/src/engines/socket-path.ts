// The sockets of engines. A server that is killed together with its engines can't remove their sockets. So beside each socket a record says
// which process listens on it, and a later server removes the socket once that process is surely dead. A socket without a record stays.
// A copy of a data folder has copies of the records, by which a server of the copy removes sockets of the copy alone.
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { isSurelyDead, makeFolder, ownerName } from '#files';

const SOCKET_PATH_MAX = 100; // the kernel's limit, with some room
/** The beginning of the names of folders that hold one socket each. */
const OWN_FOLDER = 'espalier-';
const RECORD = /^engine-\d+-\d+\.listener\.json$/;

interface Listener {
  /** The folder of the record. It differs from the folder in which the record is found once that one was copied or moved. */
  folder: string;
  socket: string;
  owner: string;
}

let sockets = 0;

/**
 * Returns a path for a new socket. A path is never used twice, so an engine that a dead orchestrator left behind can't be taken for a new
 * one. Sockets whose processes are surely dead are removed.
 */
export function socketPath(folder: string): string {
  sockets += 1;
  makeFolder(folder);
  removeDeadSockets(folder);
  const name = `engine-${process.pid}-${sockets}.sock`;
  const inFolder = join(folder, name);
  if (inFolder.length <= SOCKET_PATH_MAX) {
    rmSync(inFolder, { force: true });
    return inFolder;
  }
  return join(mkdtempSync(join(tmpdir(), OWN_FOLDER)), name); // other users can't enter this folder
}

/** Records the process that listens on the socket. @param folder the one that the socket's path was asked for */
export function recordListener(folder: string, socket: string, pid: number): void {
  const owner = ownerName(pid);
  if (owner === undefined) return;
  try {
    writeFileSync(recordOf(folder, socket), JSON.stringify({ folder: resolve(folder), socket, owner } satisfies Listener));
  } catch {
    // The disk is full. The engine works without a record, and its socket may stay.
  }
}

export function removeSocket(folder: string, socket: string): void {
  rmSync(socket, { force: true });
  const itsFolder = dirname(socket);
  if (itsFolder !== join(folder) && dirname(itsFolder) === tmpdir()) removeIfEmpty(itsFolder);
  rmSync(recordOf(folder, socket), { force: true });
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // It holds a file of another program, or a program that tidies up has removed it.
  }
}

const recordOf = (folder: string, socket: string): string => join(folder, `${basename(socket, '.sock')}.listener.json`);

function removeDeadSockets(folder: string): void {
  for (const name of readdirSync(folder).filter((one) => RECORD.test(one))) {
    const record = recordIn(join(folder, name));
    if (record === null || basename(recordOf(folder, record.socket)) !== name || !isSurelyDead(record.owner)) continue;
    const socket = record.folder === resolve(folder) ? record.socket : join(folder, basename(record.socket));
    if (lstatSync(socket, { throwIfNoEntry: false })?.isSocket() === true) removeSocket(folder, socket);
    else rmSync(join(folder, name), { force: true });
  }
}

/** Returns null for a record that was cut short or damaged. */
function recordIn(path: string): Listener | null {
  try {
    const { folder, socket, owner } = JSON.parse(readFileSync(path, 'utf8')) as Record<keyof Listener, unknown>;
    if (typeof folder !== 'string' || typeof socket !== 'string' || typeof owner !== 'string') return null;
    return { folder, socket, owner };
  } catch {
    return null;
  }
}
