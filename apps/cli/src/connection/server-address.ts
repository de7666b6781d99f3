// Where the server is: --server, ESPALIER_SERVER, the data folder's espalier.json, the default address.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
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
  if (options.server !== undefined) return { address: checked(options.server, '--server'), source: '--server' };
  const fromEnvironment = process.env['ESPALIER_SERVER'];
  if (fromEnvironment) return { address: checked(fromEnvironment, 'ESPALIER_SERVER'), source: 'ESPALIER_SERVER' };
  const dataFolder = dataFolderOf(options.dataFolder);
  const file = readServerFile(dataFolder);
  if (file !== null) return { address: file.listen, source: serverFilePath(dataFolder) };
  return { address: DEFAULT_SERVER, source: `the default; there is no ${serverFilePath(dataFolder)}` };
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
