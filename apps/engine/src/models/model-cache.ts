// Keeps models that came from an orchestrator on the disk of this machine. Several engines share a cache. The engines that use a model
// share the kernel's lock on its folder; an engine that receives or removes the model has the lock alone (docs/design/model-files.md).
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Logger } from 'pino';
import { byteWords } from '#comparison';
import { makeFolder, roomInSync } from '#files';
import { EspalierError } from '#protocol';
import { lockFolder, openOwnFolder, type Hold, type FolderMarker } from '../shared-folder.js';
import { digestOfList, type ListedFile } from './model-list.js';

const MARK: FolderMarker = {
  file: 'espalier-model-cache',
  text: 'Models that engines of Espalier have received. Old ones are removed when there is no room.\n',
};
const DIGEST = /^[0-9a-f]{64}$/;
/** The cache leaves this much of the disk free. */
const LEAVES_FREE_BYTES = 1024 ** 3;

export function usualCacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'espalier', 'models');
}

export class ModelCache {
  private constructor(
    readonly folder: string,
    private readonly limitBytes: number,
    private readonly log: Pick<Logger, 'info' | 'warn'>,
    private readonly leavesFreeBytes: number,
  ) {}

  /** Makes the folder if it is not there. @throws EspalierError MODEL_CACHE_UNUSABLE */
  static open(path: string, limitBytes: number, log: Pick<Logger, 'info' | 'warn'>, leavesFreeBytes = LEAVES_FREE_BYTES): ModelCache {
    try {
      const folder = openOwnFolder(path, MARK);
      makeFolder(join(folder, 'models'));
      return new ModelCache(folder, limitBytes, log, leavesFreeBytes);
    } catch (error) {
      throw new EspalierError('MODEL_CACHE_UNUSABLE', `the model cache ${resolve(path)} can't be used: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  filesOf(digest: string): string {
    return join(this.of(digest), 'files');
  }

  partOf(digest: string, name: string): string {
    return join(this.of(digest), 'parts', name);
  }

  /** Locks a model to use it; other engines may use it too. null: another process is receiving it. */
  use(digest: string): Hold | null {
    const hold = this.lock(digest, false);
    if (hold === null) return null;
    try {
      const now = Date.now() / 1_000;
      utimesSync(join(this.of(digest), 'model.json'), now, now);
    } catch {
      // The model was never received here, so there is no time of its last use to set.
    }
    return hold;
  }

  /** Locks a model to receive its files. null: another process is receiving or using it. */
  receive(digest: string, files: readonly ListedFile[]): Hold | null {
    const hold = this.lock(digest, true);
    if (hold === null) return null;
    try {
      for (const name of ['files', 'parts']) makeFolder(join(this.of(digest), name));
      const list = join(this.of(digest), 'model.json');
      if (!existsSync(list)) {
        writeFileSync(`${list}.new`, `${JSON.stringify({ files }, null, 1)}\n`);
        renameSync(`${list}.new`, list);
      }
      return hold;
    } catch (error) {
      hold.release();
      throw cacheError(error, this.folder);
    }
  }

  /** Removes models, the one used least recently first, until the given number of bytes fits. @throws EspalierError MODEL_CACHE_FULL */
  makeRoom(bytes: number, forDigest: string): void {
    const models = this.models().sort((one, other) => one.usedAtMs - other.usedAtMs);
    let total = models.reduce((sum, model) => sum + model.bytes, 0);
    const lacks = (): number => Math.max(total + bytes - this.limitBytes, bytes + this.leavesFreeBytes - roomInSync(this.folder));
    for (const model of models) {
      if (lacks() <= 0) return;
      if (model.digest !== forDigest && this.remove(model.digest, model.bytes)) total -= model.bytes;
    }
    const missing = lacks();
    if (missing <= 0) return;
    throw new EspalierError(
      'MODEL_CACHE_FULL',
      `a model needs ${byteWords(bytes)} in the model cache ${this.folder}, and ${byteWords(missing)} of that are missing. ` +
        `The cache may take ${byteWords(this.limitBytes)}. Its disk has ${byteWords(roomInSync(this.folder))} free, and ` +
        `${byteWords(this.leavesFreeBytes)} have to stay free. Models in use are not removed`,
    );
  }

  private of(digest: string): string {
    if (!DIGEST.test(digest)) throw new EspalierError('MODEL_NOT_OFFERED', `"${digest}" is not a digest of a model`);
    return join(this.folder, 'models', digest);
  }

  private lock(digest: string, exclusive: boolean): Hold | null {
    try {
      return lockFolder(this.of(digest), { exclusive });
    } catch (error) {
      throw cacheError(error, this.folder);
    }
  }

  private models(): { digest: string; bytes: number; usedAtMs: number }[] {
    return readdirSync(join(this.folder, 'models'))
      .filter((name) => DIGEST.test(name))
      .map((digest) => ({
        digest,
        bytes: sizeOf(this.filesOf(digest)) + sizeOf(join(this.of(digest), 'parts')),
        usedAtMs: statSync(join(this.of(digest), 'model.json'), { throwIfNoEntry: false })?.mtimeMs ?? 0,
      }));
  }

  /** Removes a model. Returns false if a process uses it, or it can't be removed. */
  private remove(digest: string, bytes: number): boolean {
    const hold = this.lock(digest, true);
    if (hold === null) return false;
    const folder = this.of(digest);
    try {
      for (const name of namesIn(folder, digest))
        for (const place of ['files', 'parts']) rmSync(join(folder, place, name), { force: true });
      for (const place of ['files', 'parts']) if (existsSync(join(folder, place))) rmdirSync(join(folder, place));
      for (const list of ['model.json', 'model.json.new']) if (existsSync(join(folder, list))) unlinkSync(join(folder, list));
      rmdirSync(folder);
      this.log.info({ model: digest, bytes }, 'a model was removed from the cache, to make room');
      return true;
    } catch (error) {
      this.log.warn({ model: digest, err: error }, 'a model of the cache could not be removed whole: its folder holds other files too');
      return false;
    } finally {
      hold.release();
    }
  }
}

/** Gives an error of the cache, such as a full disk, its code. */
export function cacheError(error: unknown, folder: string): EspalierError {
  if (error instanceof EspalierError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new EspalierError('MODEL_CACHE_FULL', `the disk of the model cache ${folder} is full: ${message}`, { cause: error });
  return new EspalierError('MODEL_CACHE_UNUSABLE', `the model cache ${folder} can't be used: ${message}`, { cause: error });
}

function sizeOf(folder: string): number {
  try {
    return readdirSync(folder).reduce((sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0), 0);
  } catch {
    return 0;
  }
}

/** Returns the file names that the cache has written down; an empty list if they are not those of this model. */
function namesIn(folder: string, digest: string): string[] {
  try {
    const { files } = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as { files: ListedFile[] };
    return digestOfList(files) === digest ? files.map(({ name }) => name) : [];
  } catch {
    return [];
  }
}
