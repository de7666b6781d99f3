// Where the server is: --server, ESPALIER_SERVER, the data folder's espalier.json, the default address. And what is shown to it:
// ESPALIER_TOKEN, or the data folder's token, but that only to the server of that data folder.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { TOKEN_FILE } from '#files';
import { CliError, ExitCode } from '../cli-error.js';

export const DEFAULT_SERVER = '127.0.0.1:7433';
export const DEFAULT_DATA_FOLDER = '.espalier';

export interface ServerFile {
  listen: string;
  pid: number;
}
export interface ServerAddress {
  address: string;
  /** Where the address comes from, for messages. */
  source: string;
  /** Null: none is known for this server. */
  token: string | null;
}

export function dataFolderOf(option: string | undefined): string {
  return resolve(option ?? (process.env['ESPALIER_DATA_FOLDER'] || DEFAULT_DATA_FOLDER));
}

export function serverFilePath(dataFolder: string): string {
  return join(dataFolder, 'espalier.json');
}

/** Null without a file, or while it is being written. */
export function readServerFile(dataFolder: string): ServerFile | null {
  try {
    const { listen, pid } = JSON.parse(readFileSync(serverFilePath(dataFolder), 'utf8')) as Partial<ServerFile>;
    return typeof listen === 'string' && typeof pid === 'number' ? { listen, pid } : null;
  } catch {
    return null;
  }
}

export function findServer(options: { server?: string | undefined; dataFolder?: string | undefined }): ServerAddress {
  const dataFolder = dataFolderOf(options.dataFolder);
  const file = readServerFile(dataFolder);
  const at = (address: string, source: string): ServerAddress => ({ address, source, token: tokenFor(address, dataFolder, file) });
  if (options.server !== undefined) return at(checked(options.server, '--server'), '--server');
  const fromEnvironment = process.env['ESPALIER_SERVER'];
  if (fromEnvironment) return at(checked(fromEnvironment, 'ESPALIER_SERVER'), 'ESPALIER_SERVER');
  if (file !== null) return at(file.listen, serverFilePath(dataFolder));
  return at(DEFAULT_SERVER, `the default; there is no ${serverFilePath(dataFolder)}`);
}

function tokenFor(address: string, dataFolder: string, file: ServerFile | null): string | null {
  const given = process.env['ESPALIER_TOKEN'];
  if (given) return given;
  if (file === null || !isSameServer(address, file.listen)) return null;
  try {
    return readFileSync(join(dataFolder, TOKEN_FILE), 'utf8').trim();
  } catch {
    return null; // it asks for none, or is another user's
  }
}

/** All names of this machine's own addresses are one. */
function isSameServer(one: string, other: string): boolean {
  const plain = (address: string): string => address.replace(/^(localhost|0\.0\.0\.0|\[::1?\]):/, '127.0.0.1:');
  return plain(one) === plain(other);
}

function checked(address: string, source: string): string {
  const port = /^(?:[\w.-]+|\[[\da-fA-F:]+\]):(\d{1,5})$/.exec(address)?.[1];
  if (address.startsWith('unix:') || (port !== undefined && Number(port) >= 1 && Number(port) <= 65_535)) return address;
  throw new CliError('SERVER_ADDRESS_INVALID', `${JSON.stringify(address)} is no server address; HOST:PORT and unix:PATH are allowed`, {
    field: source,
    exitCode: ExitCode.usage,
  });
}

/** Signal 0 asks only whether the process is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
