import { mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { makeFolder } from '#files';

const SOCKET_PATH_MAX = 100; // what the kernel takes, with room

let sockets = 0;

/** A socket is never used twice, so a left-over engine of a dead orchestrator can't be mistaken for ours. */
export function socketPath(folder: string): string {
  sockets += 1;
  const name = `engine-${process.pid}-${sockets}.sock`;
  const inFolder = join(folder, name);
  if (inFolder.length <= SOCKET_PATH_MAX) {
    makeFolder(folder);
    rmSync(inFolder, { force: true });
    return inFolder;
  }
  return join(mkdtempSync(join(tmpdir(), 'espalier-')), name); // a folder that others can't enter
}

export function removeSocket(socket: string): void {
  rmSync(socket, { force: true });
  if (dirname(dirname(socket)) === tmpdir()) rmdirSync(dirname(socket));
}
