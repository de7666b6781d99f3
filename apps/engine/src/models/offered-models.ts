// The models that the orchestrator has named to this process, and the places of their files: the orchestrator's own folder if this machine
// has it too, the cache, or, for questions about a model, an outline of sparse files.
import { createHash } from 'node:crypto';
import { rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { Logger } from 'pino';
import { digestOfFile, FileDigests, makeFolder } from '#files';
import { EspalierError, invalidField, type engineV1 } from '#protocol';
import type { ScratchFolder } from '../scratch-folder.js';
import type { Hold } from '../shared-folder.js';
import { cacheError, ModelCache } from './model-cache.js';
import { areIn, checkedList, digestOfList, isIn, type ListedFile } from './model-list.js';

const SCHEME = 'model:';
const OUTLINES_MAX = 32;
const TELL_EVERY_MS = 10_000;

interface Offered {
  digest: string;
  files: readonly ListedFile[];
  isOutline: boolean;
  /** The folder that holds all files; null: some files have to be sent. */
  folder: string | null;
  hold: Hold | null;
}

export interface CacheWish {
  folder: string;
  limitBytes: number;
}

export class OfferedModels {
  private readonly offered = new Map<string, Offered>();
  private readonly digests = new FileDigests();
  private cache: ModelCache | null = null;
  private atWork = 0;
  private workedAtMs = performance.now();
  private isEnding = false;

  constructor(
    private readonly wish: CacheWish,
    private readonly scratch: Pick<ScratchFolder, 'newPath'>,
    private readonly log: Pick<Logger, 'info' | 'warn'>,
  ) {}

  /** Opens the cache, so that a wrong folder is reported before the first run. @throws EspalierError MODEL_CACHE_UNUSABLE */
  openCache(): ModelCache {
    this.cache ??= ModelCache.open(this.wish.folder, this.wish.limitBytes, this.log);
    return this.cache;
  }

  /** The time since a model was checked or received, or since the start. */
  idleForMs(nowMs = performance.now()): number {
    return this.atWork > 0 ? 0 : nowMs - this.workedAtMs;
  }

  /** Stops taking bytes. The bytes that are here stay for the next process. */
  end(): void {
    this.isEnding = true;
  }

  async offer(request: engineV1.OfferModelRequest, signal: AbortSignal): Promise<engineV1.OfferModelResponse> {
    this.atWork += 1; // this may read all files of a model
    try {
      return await this.offerNow(request, signal);
    } finally {
      this.workEnds();
    }
  }

  private workEnds(): void {
    this.atWork -= 1;
    this.workedAtMs = performance.now();
  }

  private async offerNow({ modelPath, files }: engineV1.OfferModelRequest, signal: AbortSignal): Promise<engineV1.OfferModelResponse> {
    const list = checkedList(files);
    if (files.every(({ digest }) => digest === '')) return this.outline(list, files);
    if (modelPath !== '' && !isAbsolute(modelPath))
      throw invalidField('FIELD_OUT_OF_RANGE', 'model_path', `is "${modelPath}": an absolute path is allowed`);
    const digest = digestOfList(list);
    const model: Offered = this.offered.get(digest) ?? { digest, files: list, isOutline: false, folder: null, hold: null };
    this.offered.set(digest, model);
    const isHere = modelPath !== '' && (await areIn(modelPath, list, this.digests, signal));
    const missing = isHere ? [] : await this.missingInCache(model, signal);
    model.folder = missing.length > 0 ? null : isHere ? modelPath : this.openCache().filesOf(digest);
    return { modelPath: `${SCHEME}${digest}`, missing };
  }

  /** Returns the folder that a request names. @throws EspalierError MODEL_NOT_OFFERED */
  folderOf(modelPath: string): string {
    if (!modelPath.startsWith(SCHEME)) return modelPath;
    const { folder } = this.require(modelPath);
    if (folder === null) throw new EspalierError('MODEL_NOT_OFFERED', `the files of ${modelPath} are not here yet`);
    return folder;
  }

  /** Releases all other models, since the session has this one. They may then be removed from the cache. */
  keepOnly(modelPath: string): void {
    for (const { digest, hold } of this.offered.values()) if (`${SCHEME}${digest}` !== modelPath) hold?.release();
    for (const model of this.offered.values()) if (`${SCHEME}${model.digest}` !== modelPath) model.hold = null;
  }

  /** Receives one file of a model. */
  async *receive(
    requests: AsyncIterable<engineV1.SendModelFileRequest>,
    signal: AbortSignal,
  ): AsyncGenerator<engineV1.SendModelFileResponse> {
    const messages = requests[Symbol.asyncIterator]();
    const { value: first } = (await messages.next()) as IteratorResult<engineV1.SendModelFileRequest, undefined>;
    if (first === undefined) throw new EspalierError('REQUEST_INVALID', 'the stream ended before its first message');
    const model = this.require(first.modelPath);
    const file = model.files.find(({ name }) => name === first.name);
    if (file === undefined || model.isOutline)
      throw invalidField('FIELD_OUT_OF_RANGE', 'name', `is "${first.name}": the model has no such file`);
    const cache = this.openCache();
    model.hold?.release();
    model.hold = null;
    const hold = cache.receive(model.digest, model.files);
    if (hold === null) throw new EspalierError('MODEL_FILES_BUSY', 'another engine of this machine receives the model');
    this.atWork += 1;
    try {
      yield* this.receiveFile({ cache, model, file, signal }, messages);
    } catch (error) {
      signal.throwIfAborted();
      throw cacheError(error, cache.folder);
    } finally {
      this.workEnds();
      hold.release();
    }
  }

  private async *receiveFile(
    { cache, model, file, signal }: { cache: ModelCache; model: Offered; file: ListedFile; signal: AbortSignal },
    messages: AsyncIterator<engineV1.SendModelFileRequest>,
  ): AsyncGenerator<engineV1.SendModelFileResponse> {
    const { name, bytes } = file;
    const folder = cache.filesOf(model.digest);
    if (await isIn(folder, file, this.digests, signal)) {
      yield { bytesHere: BigInt(bytes), complete: true };
      return;
    }
    await rm(join(folder, name), { force: true }); // the file is damaged
    const part = cache.partOf(model.digest, name);
    const from = Math.min(sizeOf(part), bytes);
    cache.makeRoom(bytesMissing(cache, model), model.digest);
    const about = { model: model.digest, file: name, bytes };
    this.log.info({ ...about, from }, 'a file of a model comes');
    const beganMs = performance.now();
    yield { bytesHere: BigInt(from), complete: false };
    const handle = await open(part, 'a');
    try {
      await handle.truncate(from);
      let [here, toldMs] = [from, beganMs];
      while (here < bytes) {
        const { value: message } = (await messages.next()) as IteratorResult<engineV1.SendModelFileRequest, undefined>;
        if (this.isEnding) throw new EspalierError('SHUTTING_DOWN', 'the engine is shutting down');
        if (message === undefined) throw new EspalierError('REQUEST_INVALID', `the stream ended after ${here} of ${bytes} bytes`);
        if (here + message.chunk.byteLength > bytes)
          throw invalidField('FIELD_OUT_OF_RANGE', 'chunk', `brings the file to more than its ${bytes} bytes`);
        await writeWhole(handle, message.chunk);
        here += message.chunk.byteLength;
        if (performance.now() - toldMs > TELL_EVERY_MS) {
          toldMs = performance.now();
          this.log.info({ ...about, here }, 'a file of a model is on its way');
        }
        yield { bytesHere: BigInt(here), complete: false };
      }
    } finally {
      await handle.close();
    }
    await this.takeOver(cache, model.digest, file);
    this.log.info({ ...about, seconds: (performance.now() - beganMs) / 1_000 }, 'a file of a model is here');
    yield { bytesHere: BigInt(bytes), complete: true };
  }

  /** @throws EspalierError MODEL_FILE_DAMAGED */
  private async takeOver(cache: ModelCache, model: string, { name, digest }: ListedFile): Promise<void> {
    const part = cache.partOf(model, name);
    const found = await digestOfFile(part);
    if (found !== digest) {
      await rm(part, { force: true });
      throw new EspalierError('MODEL_FILE_DAMAGED', `${name} arrived with digest ${found}, not ${digest}: bytes were damaged on the way`);
    }
    const path = join(cache.filesOf(model), name);
    await rename(part, path);
    await this.digests.note(path, digest);
  }

  /** Returns the names of files that the cache lacks. If it lacks none, the model stays in the cache from now on. */
  private async missingInCache(model: Offered, signal: AbortSignal): Promise<string[]> {
    const cache = this.openCache();
    model.hold ??= cache.use(model.digest);
    const missing: string[] = [];
    // While another engine receives the model, all files count as missing. The sender is then told to wait, or finds the files there.
    for (const file of model.files)
      if (model.hold === null || !(await isIn(cache.filesOf(model.digest), file, this.digests, signal))) missing.push(file.name);
    if (missing.length === 0) return [];
    model.hold?.release();
    model.hold = null;
    return missing;
  }

  private outline(list: readonly ListedFile[], files: readonly engineV1.ModelFile[]): engineV1.OfferModelResponse {
    const named = list.map((file, index) => ({ ...file, digest: createHash('sha256').update(files[index]!.head).digest('hex') }));
    const digest = digestOfList(named);
    const answer = { modelPath: `${SCHEME}${digest}`, missing: [] };
    if (this.offered.get(digest)?.isOutline) return answer;
    const folder = this.scratch.newPath();
    makeFolder(folder);
    for (const { name, bytes, head } of files) {
      if (head.byteLength > Number(bytes)) throw invalidField('FIELD_OUT_OF_RANGE', 'head', `of ${name} is longer than the file`);
      writeFileSync(join(folder, name), head, { mode: 0o600 });
      truncateSync(join(folder, name), Number(bytes)); // the hole in a sparse file takes no room
    }
    this.offered.set(digest, { digest, files: named, isOutline: true, folder, hold: null });
    const outlines = [...this.offered.values()].filter(({ isOutline }) => isOutline);
    for (const old of outlines.slice(0, Math.max(0, outlines.length - OUTLINES_MAX))) {
      this.offered.delete(old.digest);
      rmSync(dirname(old.folder!), { recursive: true, force: true }); // in this process's scratch folder
    }
    return answer;
  }

  private require(modelPath: string): Offered {
    const model = this.offered.get(modelPath.slice(SCHEME.length));
    if (model === undefined || !modelPath.startsWith(SCHEME))
      throw new EspalierError('MODEL_NOT_OFFERED', `no model ${modelPath} was offered to this engine`);
    return model;
  }
}

function bytesMissing(cache: ModelCache, { digest, files }: Offered): number {
  return files.reduce((sum, { name, bytes }) => {
    const here = Math.max(sizeOf(join(cache.filesOf(digest), name)), sizeOf(cache.partOf(digest, name)));
    return sum + Math.max(0, bytes - here);
  }, 0);
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

async function writeWhole(handle: Awaited<ReturnType<typeof open>>, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) done += (await handle.write(bytes, done)).bytesWritten;
}
