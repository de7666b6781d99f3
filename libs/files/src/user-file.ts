// Opens files that a user names. Such a path may lead to anything: a FIFO would block the reader for ever, /dev/zero never ends, a folder
// has no bytes. So opening never blocks, and only regular files are accepted. Links are followed, since Hugging Face's cache consists of
// them.
import { closeSync, fstatSync, lstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { constants, open, type FileHandle } from 'node:fs/promises';

export type UserFileErrorCode = 'FILE_NOT_FOUND' | 'FILE_UNUSABLE' | 'FILE_NOT_REGULAR' | 'FILE_TOO_LARGE';

export class UserFileError extends Error {
  constructor(
    /** FILE_UNUSABLE: the operating system refuses the access, for instance because a permission is missing. */
    readonly code: UserFileErrorCode,
    message: string,
    readonly path: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** @throws UserFileError */
export async function openUserFile(path: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw openError(error as NodeJS.ErrnoException, path);
  }
  try {
    const found = await file.stat();
    if (!found.isFile()) throw notRegular(path, kindOf(found));
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Checks that the file can be opened and has at most `limitBytes`, without reading it. @throws UserFileError */
export async function requireUserFile(path: string, limitBytes: number): Promise<void> {
  const file = await openUserFile(path);
  try {
    requireSize(path, (await file.stat()).size, limitBytes);
  } finally {
    await file.close();
  }
}

/** Returns all bytes of a file that has at most `limitBytes`. @throws UserFileError, or the signal's reason */
export async function readUserFile(path: string, limitBytes: number, signal?: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const file = await openUserFile(path);
  try {
    requireSize(path, (await file.stat()).size, limitBytes);
    for await (const chunk of chunksOf(file, path, signal)) {
      bytes += chunk.byteLength;
      requireSize(path, bytes, limitBytes); // the file may grow while it is read
      chunks.push(chunk);
    }
  } finally {
    await file.close();
  }
  return Buffer.concat(chunks, bytes);
}

/** The same as `readUserFile`, without waiting: for small files that are needed before anything else. @throws UserFileError */
export function readUserFileSync(path: string, limitBytes: number): Buffer {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw openError(error as NodeJS.ErrnoException, path);
  }
  try {
    const found = fstatSync(file);
    if (!found.isFile()) throw notRegular(path, kindOf(found));
    requireSize(path, found.size, limitBytes);
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

function requireSize(path: string, bytes: number, limitBytes: number): void {
  if (bytes > limitBytes)
    throw new UserFileError('FILE_TOO_LARGE', `${path} has ${bytes} bytes; at most ${limitBytes} bytes are allowed`, path);
}

/** Yields the bytes of a file, piece by piece. @throws UserFileError, or the signal's reason */
export async function* userFileChunks(path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  const file = await openUserFile(path);
  try {
    yield* chunksOf(file, path, signal);
  } finally {
    await file.close();
  }
}

const CHUNK_BYTES = 1 << 18;

async function* chunksOf(file: FileHandle, path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES)).catch((error: unknown) => {
      throw new UserFileError('FILE_UNUSABLE', `can't read ${path}: ${(error as Error).message}`, path);
    });
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

function openError(error: NodeJS.ErrnoException, path: string): UserFileError {
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR': {
      const isLink = isSymbolicLink(path);
      const what = isLink ? `${path} is a link to a file that is not there` : `there is no file ${path}`;
      return new UserFileError('FILE_NOT_FOUND', what, path);
    }
    case 'ENXIO': // the error of opening a socket, or a device without a driver
      return notRegular(path, 'a socket or a device');
    default:
      return new UserFileError('FILE_UNUSABLE', `can't read ${path}: ${error.message}`, path, { cause: error });
  }
}

function isSymbolicLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}

function notRegular(path: string, kind: string): UserFileError {
  return new UserFileError('FILE_NOT_REGULAR', `${path} is ${kind}; a regular file, or a link to one, is allowed`, path);
}

/** Names the kind of a path that is not a regular file. */
export function kindOf(found: Pick<Stats, 'isDirectory' | 'isFIFO' | 'isSocket'>): string {
  if (found.isDirectory()) return 'a folder';
  if (found.isFIFO()) return 'a FIFO';
  return found.isSocket() ? 'a socket' : 'a device';
}
