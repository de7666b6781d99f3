// Fetches files of a commit into the cache of the hub's own programs, in their layout:
//
//     models--org--name/blobs/DIGEST                   the bytes; DIGEST.incomplete while they arrive
//     models--org--name/snapshots/COMMIT/PATH          a link to them
//     models--org--name/refs/REVISION                  the commit
//
// Links are made when all bytes are there and have their digests, and the revision is written last. So a snapshot that was cut off is not
// taken for a whole one.
import { createHash, randomUUID, type Hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, readlink, rename, rm, stat, symlink, writeFile, type FileHandle } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { makeFolder, pathInside, ROOM_BYTES, roomIn } from '#files';
import { causeWords, type HubAccess } from './hub-access.js';
import { HubError } from './hub-error.js';
import { hubError, type HubFile } from './hub-repository.js';

const TOGETHER = 4;
const TRIES = 6;
/** A connection over which no byte comes for so long is given up. */
const STALL_MS = 60_000;

export interface Fetching {
  access: HubAccess;
  /** The address of a commit's files, to which a path is added. */
  resolveUrl: string;
  /** The repository's folder in the cache. */
  folder: string;
  commit: string;
  signal?: AbortSignal | undefined;
  onBytes?: (bytes: number) => void;
  /** The pause before a file that was cut off goes on. */
  pauseMs?: number;
}

/** Fetches the bytes of files that the cache lacks. @throws HubError, or the signal's reason */
export async function fetchBlobs(fetching: Fetching, files: readonly HubFile[]): Promise<void> {
  const blobs = join(fetching.folder, 'blobs');
  makeFolder(blobs);
  const missing = [...new Map(files.map((file) => [file.digest, file])).values()].filter(({ digest }) => !existsSync(join(blobs, digest)));
  await requireRoom(blobs, missing);
  const left = missing.toSorted((a, b) => b.size - a.size);
  const failed = new AbortController(); // the first problem ends the other files, too
  const signal = fetching.signal === undefined ? failed.signal : AbortSignal.any([failed.signal, fetching.signal]);
  const work = async (): Promise<void> => {
    for (let file = left.shift(); file !== undefined; file = left.shift()) await fetchBlob({ ...fetching, signal }, file);
  };
  const workers = Array.from({ length: TOGETHER }, async () => {
    try {
      await work();
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  });
  await Promise.allSettled(workers);
  fetching.signal?.throwIfAborted();
  failed.signal.throwIfAborted();
}

async function requireRoom(blobs: string, missing: readonly HubFile[]): Promise<void> {
  const have = await Promise.all(missing.map(({ digest }) => sizeOf(partOf(blobs, digest))));
  const needed = missing.reduce((sum, { size }, index) => sum + Math.max(size - have[index]!, 0), 0);
  const room = await roomIn(blobs);
  if (needed + ROOM_BYTES > room)
    throw new HubError('HUB_DISK_FULL', `${needed} bytes are to be fetched, and the disk of ${blobs} has room for ${room}`);
}

const partOf = (blobs: string, digest: string): string => join(blobs, `${digest}.incomplete`);
const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => ({ size: 0 }))).size;

async function fetchBlob(fetching: Fetching, file: HubFile): Promise<void> {
  const blobs = join(fetching.folder, 'blobs');
  const part = partOf(blobs, file.digest);
  for (const again of [true, false]) {
    await fetchPart(fetching, file, part);
    const digest = await digestOf(part, file, fetching.signal);
    if (digest === file.digest) break;
    await rm(part, { force: true }); // bytes with another digest are of no use, and no event names them
    fetching.onBytes?.(-file.size);
    if (!again)
      throw new HubError('HUB_FILE_DAMAGED', `${file.path} came twice with the digest ${digest}; by the hub's list it has ${file.digest}`);
  }
  await rename(part, join(blobs, file.digest));
}

/** Fetches what is missing of a part. Two processes that write the same part write the same bytes to the same places. */
async function fetchPart(fetching: Fetching, file: HubFile, part: string): Promise<void> {
  const { signal, onBytes, pauseMs = 1_000 } = fetching;
  await using handle = await open(part, existsSync(part) ? 'r+' : 'w+');
  let at = (await handle.stat()).size;
  if (at > file.size) {
    await handle.truncate(0);
    at = 0;
  }
  onBytes?.(at);
  for (let number = 1; at < file.size; number++) {
    const before = at;
    try {
      for await (const place of received(fetching, file, handle, at)) {
        onBytes?.(place - at);
        at = place;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof HubError) throw error;
      if (at > before) number = 1; // the connection was cut, but brought us on
      if (number === TRIES)
        throw new HubError('HUB_UNREACHABLE', `${file.path} was cut off after ${at} of ${file.size} bytes: ${causeWords(error)}`, {
          cause: error,
        });
    }
    if (at < file.size) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  await handle.sync();
}

/** Writes the bytes of an answer from a place on, and yields each place reached. */
async function* received(
  { access, resolveUrl, signal }: Fetching,
  file: HubFile,
  handle: FileHandle,
  from: number,
): AsyncGenerator<number> {
  const stall = new AbortController();
  const signals = signal === undefined ? stall.signal : AbortSignal.any([stall.signal, signal]);
  const address = `${resolveUrl}/${file.path.split('/').map(encodeURIComponent).join('/')}`;
  const headers = { 'accept-encoding': 'identity', ...(from === 0 ? {} : { range: `bytes=${from}-` }) };
  const response = await access.fetch(address, { headers, signal: signals });
  if (!response.ok) {
    await response.body?.cancel();
    throw hubError({ statusCode: response.status, message: '' }, access, `file ${file.path}`);
  }
  let at = from;
  if (from > 0 && response.status !== 206) at = 0; // the server sends the file from its beginning
  let timer: NodeJS.Timeout | undefined;
  const expect = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => stall.abort(new Error('no byte came for a minute')), STALL_MS);
  };
  expect();
  try {
    for await (const chunk of response.body ?? []) {
      expect();
      const bytes = chunk as Uint8Array;
      if (at + bytes.length > file.size)
        throw new HubError('HUB_ANSWER_INVALID', `${file.path} has more bytes than the ${file.size} of the hub's list`);
      await handle.write(bytes, 0, bytes.length, at);
      yield (at += bytes.length);
    }
  } finally {
    clearTimeout(timer);
  }
  if (at < file.size) throw new Error('the connection ended early');
}

/** Returns the digest of the bytes on the disk, by the kind of digest that the file has. */
async function digestOf(path: string, { digest, size }: HubFile, signal?: AbortSignal): Promise<string> {
  const hash: Hash = digest.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  await using handle = await open(path, 'r');
  for await (const chunk of handle.createReadStream({ highWaterMark: 1 << 20, ...(signal === undefined ? {} : { signal }) }))
    hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Makes the links of a snapshot. A file of an earlier download stays where it is. */
export async function linkSnapshot({ folder, commit }: Fetching, files: readonly HubFile[]): Promise<string> {
  const snapshot = join(folder, 'snapshots', commit);
  makeFolder(snapshot);
  for (const { path, digest } of files) {
    const link = pathInside(snapshot, path);
    makeFolder(dirname(link));
    const target = relative(dirname(link), join(folder, 'blobs', digest));
    if (existsSync(link)) continue;
    const dangling = await readlink(link).catch(() => null);
    if (dangling !== null) await rm(link); // its blob is gone
    await symlink(target, link).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another process made it
    });
  }
  return snapshot;
}

/** Writes which commit a branch or a tag is. A commit needs no such file. */
export async function writeRevision({ folder, commit }: Fetching, revision: string): Promise<void> {
  if (revision === commit) return;
  const path = pathInside(join(folder, 'refs'), revision);
  makeFolder(dirname(path));
  const fresh = `${path}.${randomUUID()}`;
  await writeFile(fresh, commit);
  await rename(fresh, path);
}
