import { mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { makeFolder } from '#files';

const SOCKET_PATH_MAX = 100; // the kernel's limit, with some room

let sockets = 0;

/**
 * Returns a path for a new socket. A path is never used twice, so an engine that a dead orchestrator left behind can't be taken for a new
 * one.
 */
export function socketPath(folder: string): string {
  sockets += 1;
  const name = `engine-${process.pid}-${sockets}.sock`;
  const inFolder = join(folder, name);
  if (inFolder.length <= SOCKET_PATH_MAX) {
    makeFolder(folder);
    rmSync(inFolder, { force: true });
    return inFolder;
  }
  return join(mkdtempSync(join(tmpdir(), 'espalier-')), name); // other users can't enter this folder
}

export function removeSocket(socket: string): void {
  rmSync(socket, { force: true });
  if (dirname(dirname(socket)) === tmpdir()) rmdirSync(dirname(socket));
}
