// Writes results to files, which appear under their names whole or not at all.
import { existsSync, realpathSync, renameSync } from 'node:fs';
import { lstat, mkdtemp, open, rename, rm, rmdir, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { clearUnfinishedFiles, DATA_FOLDER_ID, makeFolder, openUserFile, unfinishedName, UserFileError } from '#files';
import { CliError, ExitCode } from '../cli-error.js';

/**
 * Writes a file and returns its size. `finish` may change the file before it gets its name. Nothing is created before the first bytes
 * arrive.
 */
export async function writeFileWhole(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  finish: (incoming: string) => Promise<void> = async () => undefined,
): Promise<number> {
  const target = resolve(path);
  const incoming = incomingPath(target);
  const source = chunks[Symbol.asyncIterator]();
  let next = await source.next();
  try {
    makeFolder(dirname(target));
    const file = await open(incoming, 'wx');
    try {
      for (; next.done !== true; next = await source.next()) {
        for (let done = 0; done < next.value.byteLength;) done += (await file.write(next.value, done)).bytesWritten;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await finish(incoming);
    const { size } = await stat(incoming);
    await rename(incoming, target);
    return size;
  } catch (error) {
    await source.return?.();
    await rm(incoming, { force: true });
    throw fileError(error, target);
  }
}

const INCOMING = '.incoming';
/** The ending of an older folder's name while a new folder takes its place. */
export const REPLACED = '.replaced';

/** Returns the path at which a file or folder is made before it gets its name. */
export function incomingPath(target: string): string {
  return join(dirname(target), unfinishedName(`.${basename(target)}.`, INCOMING));
}

/** Removes unfinished files and folders of killed commands of this user. Returns the removed paths. */
export function clearUnfinished(folder: string): string[] {
  return clearUnfinishedFiles(folder, { before: /\..+\./, after: INCOMING }, putBack);
}

/**
 * Tells whether an older folder lies beside the unfinished one, because a command was killed while it replaced the older one. The older one
 * then gets its name back, and the new one stays for now.
 */
function putBack(incoming: string): boolean {
  const replaced = `${incoming}${REPLACED}`;
  if (!existsSync(replaced)) return false;
  const target = join(dirname(incoming), basename(incoming).slice(1).split('.').slice(0, -3).join('.'));
  if (!existsSync(target)) renameSync(replaced, target);
  return true;
}

export const unfinishedWords = (path: string): string => `removed ${path}, which a command left unfinished when it was killed`;

/** The folder in a server's data folder in which quickstart leaves its models. */
export const EXPORTS_FOLDER = 'exports';

/** Refuses a path in a data folder, whose server replaces and removes files by their names. @throws CliError DATA_FOLDER_OF_SERVER */
export function requireOutsideDataFolder(path: string, option: string): void {
  const place = withoutLinks(path);
  for (let folder = dirname(place); folder !== dirname(folder); folder = dirname(folder)) {
    if (!existsSync(join(folder, DATA_FOLDER_ID)) || place.startsWith(join(folder, EXPORTS_FOLDER, sep))) continue;
    throw new CliError('DATA_FOLDER_OF_SERVER', `${path} lies in ${folder}, the data folder of a server, which keeps its own files there`, {
      field: option,
      exitCode: ExitCode.usage,
      hint: 'name a place outside of it',
    });
  }
}

/** Makes a folder there on trial, because /proc looks writable but is not. @throws CliError */
export async function requireWritable(path: string): Promise<void> {
  try {
    await rmdir(await mkdtemp(join(existingFolder(dirname(resolve(path))), '.espalier-')));
  } catch (error) {
    throw fileError(error, path);
  }
}

function existingFolder(path: string): string {
  let folder = path;
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}

/** Resolves the links in the existing part of the path. The rest, which does not exist yet, has no links. */
function withoutLinks(path: string): string {
  const whole = resolve(path);
  const folder = existingFolder(dirname(whole));
  return join(realpathSync(folder), relative(folder, whole));
}

export interface FilePlace {
  option: string;
  force: boolean;
  /** The kind of file that may be replaced, such as "an audit bundle". */
  what: string;
  /** Tells from its first bytes whether a file is an earlier result by Espalier. */
  isOurs: (head: Buffer, file: FileHandle) => boolean | Promise<boolean>;
}
const HEAD_BYTES = 4096;

/** Checks that a file may be written there. A result only replaces an earlier result. @throws CliError FILE_EXISTS, FILE_FOREIGN */
export async function requireFilePlace(path: string, { option, force, what, isOurs }: FilePlace): Promise<void> {
  requireOutsideDataFolder(path, option);
  const found = await lstat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError(error, path);
  });
  if (found === undefined) return requireWritable(path);
  const details = { field: option, exitCode: ExitCode.notAllowed };
  const foreign = (why: string): CliError =>
    new CliError('FILE_FOREIGN', `${path} is not replaced: ${why}`, { ...details, hint: 'name a file that does not exist yet' });
  if (!found.isFile())
    throw foreign(found.isSymbolicLink() ? 'it is a symbolic link' : found.isDirectory() ? 'it is a folder' : 'it is not a plain file');
  if (!force) throw new CliError('FILE_EXISTS', `${path} exists already`, { ...details, hint: 'another name, or --force to replace it' });
  if (found.size === 0) return;
  const file = await openUserFile(path).catch((error: unknown) => Promise.reject(fileError(error, path)));
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    if (!(await isOurs(buffer.subarray(0, bytesRead), file))) throw foreign(`it is not ${what}`);
  } finally {
    await file.close();
  }
}

/** Reads a file that an option or argument names. Errors of the file name that option. */
export async function namedFile<T>(field: string, reading: Promise<T>): Promise<T> {
  return reading.catch((error: unknown) => {
    if (!(error instanceof UserFileError)) throw error;
    const exitCode = error.code === 'FILE_NOT_FOUND' ? ExitCode.notFound : ExitCode.usage;
    throw new CliError(error.code, error.message, { field, exitCode });
  });
}

/** Returns the system's error message without the call and its paths, which may be temporary ones. */
export function systemWords({ code, message }: NodeJS.ErrnoException): string {
  return /^[A-Z0-9]+: ([^,]+)/.exec(message)?.[1] ?? code ?? message;
}

/** Gives an error of the disk a stable code. Other errors are returned unchanged. */
export function fileError(error: unknown, path: string): Error {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return error as Error;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new CliError('DISK_FULL', `no space left to write ${path}`, { exitCode: ExitCode.failed, cause: error });
  if (code === 'ENOTDIR') {
    return new CliError('PATH_NOT_A_FOLDER', `${path}: what should be a folder in it is a file`, {
      exitCode: ExitCode.usage,
      cause: error,
    });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new CliError(
      'FILE_NOT_PERMITTED',
      `${path}: this user may not ${code === 'EROFS' ? 'write there, nor may anyone' : 'do that'}`,
      { exitCode: ExitCode.failed, cause: error },
    );
  return new CliError('FILE_UNUSABLE', `${path}: ${systemWords(error as NodeJS.ErrnoException)}`, {
    exitCode: code === 'ENOENT' ? ExitCode.notFound : ExitCode.failed,
    cause: error,
  });
}
