// Finds the server: --server, ESPALIER_SERVER, or the data folder's espalier.json. Without these it is the default address, unless the user
// names a data folder: another server may have the default address then. The command shows the token that the user names. Without one, it
// shows a server that is named by its address the user's login there, and then the data folder's token. Only the server of a data folder
// gets that folder's token.
import { join, resolve } from 'node:path';
import { hasMark, readUserFileSync, TOKEN_FILE } from '#files';
import { isLoopbackAddress } from '#local-access';
import { CliError, ExitCode, invalidOption } from '../cli-error.js';
import { keptLogin, serverKey } from './kept-logins.js';
import { givenToken, isAnnouncedTls, serverTls, type AnnouncedTls, type ServerTls } from './server-tls.js';

export const DEFAULT_SERVER = '127.0.0.1:7433';
const DEFAULT_DATA_FOLDER = '.espalier';
export const COPIED_WORDS = 'its espalier.json was copied from another data folder, whose server this command leaves alone';
const WEB_PAGE = /^https?:\/\/[\w.-]+(?::\d+)?$|^https?:\/\/\[[\da-fA-F:]+\](?::\d+)?$/;

export interface ServerFile {
  listen: string;
  /** The address of the dashboard, "http://127.0.0.1:7434"; undefined: the server has none. */
  web?: string;
  pid: number;
  /** The server's TLS; undefined: the server speaks without TLS. */
  tls?: AnnouncedTls;
}

/** The content of espalier.json. */
export interface Announcement extends Partial<ServerFile> {
  /** The file was copied together with another data folder, and names that folder's server. */
  isCopied?: true;
  /** The process of a server that could not stop in good order. */
  endedByForce?: number;
}

export interface ServerAddress {
  address: string;
  /** The origin of the address, for messages. */
  source: string;
  origin: 'named' | 'data folder' | 'default';
  /** The token to show; null: no token is known for this server. */
  token: string | null;
  tokenOrigin: TokenOrigin;
  /** TLS for this server; null: the connection is made without TLS. */
  tls: ServerTls | null;
}

/** The origin of a token; null: there is no token. */
type TokenOrigin = 'given' | 'login' | 'data folder' | null;

/** The options by which the user names a server. */
export interface GivenServer {
  server?: string | undefined;
  dataFolder?: string | undefined;
  tlsCa?: string | undefined;
  tokenFile?: string | undefined;
  /** Ignores a kept login: a new login begins, or the kept one ends without being read. */
  withoutLogin?: boolean;
}

export function dataFolderOf(option: string | undefined): string {
  if (option === '') throw invalidOption('--data-folder', option, 'the path of a folder is allowed');
  return resolve(namedDataFolder(option) ?? DEFAULT_DATA_FOLDER);
}

/** The data folder that the user names; undefined: the user names none. */
function namedDataFolder(option: string | undefined): string | undefined {
  return option ?? (process.env['ESPALIER_DATA_FOLDER'] || undefined);
}

function serverFilePath(dataFolder: string): string {
  return join(dataFolder, 'espalier.json');
}

/**
 * Returns the server that the data folder names; null while it names none, or while its server starts. @throws CliError
 * DATA_FOLDER_UNREADABLE
 */
export function readServerFile(dataFolder: string): ServerFile | null {
  const { listen, web, pid, tls } = announcement(dataFolder) ?? {};
  if (listen === undefined || pid === undefined) return null;
  return { listen, pid, ...(web === undefined ? {} : { web }), ...(tls === undefined ? {} : { tls }) };
}

/** Reads a small file of the data folder. The user names the folder, so any file may lie there, and a FIFO must not block the command. */
function smallFile(path: string): string {
  return readUserFileSync(path, 64 << 10).toString('utf8');
}

/**
 * Returns the content of espalier.json; null: no server was started. A server first writes its process, and adds the address when it
 * accepts calls.
 * @throws CliError DATA_FOLDER_UNREADABLE
 */
export function announcement(dataFolder: string): Announcement | null {
  try {
    const { listen, web, pid, tls, folder } = JSON.parse(smallFile(serverFilePath(dataFolder))) as Record<string, unknown>;
    if (typeof folder === 'string' && !hasMark(dataFolder, folder)) return { isCopied: true };
    return {
      ...(typeof listen === 'string' ? { listen } : {}),
      ...(typeof web === 'string' && WEB_PAGE.test(web) ? { web } : {}), // a browser is sent to this address
      ...(typeof pid === 'number' ? { pid } : {}),
      ...(isAnnouncedTls(tls) ? { tls } : {}),
    };
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') throw unreadable(dataFolder, error);
    return error instanceof SyntaxError ? {} : null; // the file is half written
  }
}

function unreadable(dataFolder: string, cause: unknown): CliError {
  return new CliError('DATA_FOLDER_UNREADABLE', `the data folder ${dataFolder} is another user's: this user may not look into it`, {
    field: '--data-folder',
    exitCode: ExitCode.unavailable,
    cause,
    hint: 'name another with --data-folder; a server that asks for no token is reached with --server HOST:PORT',
  });
}

/**
 * Finds the server of a command.
 * @throws CliError SERVER_UNAVAILABLE while the data folder's server starts, if the data folder is a copy whose server does not run, and if
 * no server runs on a data folder that the user names, because another server may have the default address
 */
export function findServer(given: GivenServer): ServerAddress {
  const dataFolder = dataFolderOf(given.dataFolder);
  if (given.server !== undefined) return named(given.server, '--server', dataFolder, given);
  const fromEnvironment = process.env['ESPALIER_SERVER'];
  if (fromEnvironment) return named(fromEnvironment, 'ESPALIER_SERVER', dataFolder, given);
  const found = serverOf(dataFolder, given);
  if (found !== null) return found;
  if (namedDataFolder(given.dataFolder) !== undefined) throw stopped(dataFolder);
  const source = `the default; there is no ${serverFilePath(dataFolder)}`;
  return {
    address: DEFAULT_SERVER,
    source,
    origin: 'default',
    tls: null,
    ...namedToken(DEFAULT_SERVER, dataFolder, undefined, false, given),
  };
}

/**
 * Returns the data folder's own server; null: no server was started there. @throws CliError SERVER_UNAVAILABLE while it starts, and in a
 * copied folder
 */
export function serverOf(dataFolder: string, given: GivenServer = {}): ServerAddress | null {
  const found = announcement(dataFolder);
  if (found === null) return null;
  const { listen, tls } = found;
  if (found.isCopied === true) throw stopped(dataFolder, `: ${COPIED_WORDS}`);
  if (listen === undefined) throw notStarted(dataFolder);
  return {
    address: listen,
    source: serverFilePath(dataFolder),
    origin: 'data folder',
    ...ownToken(dataFolder, given),
    tls: tls === undefined ? null : serverTls(given.tlsCa, tls),
  };
}

function notStarted(dataFolder: string): CliError {
  return new CliError('SERVER_UNAVAILABLE', `the server of ${dataFolder} has not started yet: its espalier.json names no address`, {
    exitCode: ExitCode.unavailable,
    hint: 'try again in a moment; if none is starting: espalier up --detach',
  });
}

function stopped(dataFolder: string, why = ''): CliError {
  return new CliError('SERVER_UNAVAILABLE', `no server runs on ${dataFolder}${why}`, {
    exitCode: ExitCode.unavailable,
    hint: `start one with: espalier --data-folder ${dataFolder} up --detach`,
  });
}

/**
 * Returns a server that is named by its address. The data folder only matters if it is this server's. @throws CliError
 * SERVER_ADDRESS_INVALID, TOKEN_UNENCRYPTED
 */
function named(text: string, source: string, dataFolder: string, given: GivenServer): ServerAddress {
  const [, scheme, address = ''] = /^(https?:\/\/)?(.*)$/s.exec(text) ?? [];
  let known: Announcement = {};
  try {
    known = announcement(dataFolder) ?? {};
  } catch {
    // the data folder is another user's, so its token must not be shown
  }
  requireAddress(address, text, source);
  const isOwn = known.listen !== undefined && isSameServer(address, known.listen);
  const own = isOwn && scheme !== 'http://' ? known.tls : undefined;
  const tls = scheme === 'https://' || own !== undefined ? serverTls(given.tlsCa, own) : null;
  const { token, tokenOrigin } = namedToken(address, dataFolder, known.listen, tls !== null, given);
  if (token !== null && tls === null && scheme === undefined && !isOwn && !isLoopbackAddress(address))
    throw new CliError(
      'TOKEN_UNENCRYPTED',
      `${address} is beyond this machine, and a token that is shown without TLS can be read on the way`,
      {
        field: source,
        exitCode: ExitCode.usage,
        hint: `write https://${address} (or http://${address} where something else encrypts, as a tunnel does)`,
      },
    );
  return { address, source, origin: 'named', token, tokenOrigin, tls };
}

type ShownToken = Pick<ServerAddress, 'token' | 'tokenOrigin'>;

function ownToken(dataFolder: string, given: GivenServer): ShownToken {
  const token = givenToken(given.tokenFile);
  if (token !== undefined) return { token, tokenOrigin: 'given' };
  const own = tokenOf(dataFolder);
  return { token: own, tokenOrigin: own === null ? null : 'data folder' };
}

/** Returns the token for a server that is named by its address. @param listen the address of the data folder's own server */
function namedToken(address: string, dataFolder: string, listen: string | undefined, isTls: boolean, given: GivenServer): ShownToken {
  const token = givenToken(given.tokenFile);
  if (token !== undefined) return { token, tokenOrigin: 'given' };
  const login = given.withoutLogin === true ? null : keptLogin(serverKey(address, isTls));
  if (login !== null) return { token: login, tokenOrigin: 'login' };
  return listen === undefined || !isSameServer(address, listen) ? { token: null, tokenOrigin: null } : ownToken(dataFolder, given);
}

/** Returns the data folder's token; null: its server asks for none, or it belongs to another user. */
export function tokenOf(dataFolder: string): string | null {
  try {
    return smallFile(join(dataFolder, TOKEN_FILE)).trim();
  } catch {
    return null;
  }
}

/** Tells whether two addresses are the same. All names of this machine's loopback addresses count as equal. */
export function isSameServer(one: string, other: string): boolean {
  const plain = (address: string): string => address.replace(/^(localhost|0\.0\.0\.0|\[::1?\]):/, '127.0.0.1:');
  return plain(one) === plain(other);
}

function requireAddress(address: string, text: string, source: string): void {
  const port = /^(?:[\w.-]+|\[[\da-fA-F:]+\]):(\d{1,5})$/.exec(address)?.[1];
  if (text.startsWith('unix:') || (port !== undefined && Number(port) >= 1 && Number(port) <= 65_535)) return;
  const allowed = 'HOST:PORT, https://HOST:PORT and unix:PATH are allowed';
  throw new CliError('SERVER_ADDRESS_INVALID', `${JSON.stringify(text)} is not a server address; ${allowed}`, {
    field: source,
    exitCode: ExitCode.usage,
  });
}

/** Tells whether a process exists. Signal 0 only checks this. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
