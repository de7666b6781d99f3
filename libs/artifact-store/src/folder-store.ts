// Keeps artifacts in a folder as objects/ab/abcdef.... A file is first written in incoming/, and set aside in quarantine/. It gets its name
// only after its bytes are on the disk, and the caller is told only after the name is durable. So a crash leaves either nothing or the
// whole artifact. An artifact in slices is a folder of that name, which moves as one.
import { createHash } from 'node:crypto';
import { existsSync, type Dirent } from 'node:fs';
import { open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { bytesAt, bytesOfSlices, digestOfSlices, makeFolder, readPart, SLICE_LIST, slicesIn, type Slice } from '#files';
import type { ArtifactCondition, ArtifactEntry, ArtifactStat, ArtifactStore } from './artifact-store.js';
import { ArtifactStoreError, subjectOf, toArtifactError } from './artifact-store.errors.js';
import { isDigest, requireDigest } from './digest.js';
import { FolderIncoming } from './folder-incoming.js';
import { FolderQuarantine } from './folder-quarantine.js';
import { mediaTypeOf, MEDIA_TYPE_PROBE_BYTES, MEDIA_TYPE_SAFETENSORS } from './media-type.js';
import { FolderOwner } from './folder-owner.js';
import { CHUNK_BYTES, conditionOf, readChunks } from './read-chunks.js';
import { syncPath } from './sync-path.js';
import { openSlices, rangeOfSlices } from './sliced-bytes.js';
import { isMissing, WritingStore } from './writing-store.js';

export async function openFolderStore(folder: string): Promise<ArtifactStore> {
  const root = resolve(folder);
  try {
    makeFolder(join(root, 'objects'));
    makeFolder(join(root, 'incoming'));
    await syncPath(root);
  } catch (error) {
    // A folder that can't be written must still be readable. A later write reports the error itself.
    const readable = await stat(join(root, 'objects')).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (!readable) throw toArtifactError(error, 'open', null);
  }
  return new FolderStore(root);
}

class FolderStore extends WritingStore implements ArtifactStore {
  readonly incoming: FolderIncoming;
  readonly quarantine: FolderQuarantine;
  readonly owner: FolderOwner;
  readonly sideFolder: string;
  protected readonly isDurable = true;

  constructor(private readonly root: string) {
    super();
    this.sideFolder = root;
    this.owner = new FolderOwner(root);
    this.incoming = new FolderIncoming(join(root, 'incoming'));
    this.quarantine = new FolderQuarantine(
      join(root, 'quarantine'),
      (digest) => this.pathOf(digest),
      (path) => this.removeAtOnce(path),
    );
  }

  pathOf(digest: string): string {
    requireDigest(digest);
    return join(this.root, 'objects', digest.slice(0, 2), digest);
  }

  fileOf(digest: string): string {
    return this.pathOf(digest);
  }

  async adopt(incomingPath: string, digest: string): Promise<void> {
    requireDigest(digest);
    if (dirname(incomingPath) !== join(this.root, 'incoming')) throw new Error(`${incomingPath} is not in the incoming folder`);
    try {
      for (const { digest: slice } of (await slicesIn(incomingPath)) ?? []) await syncPath(join(incomingPath, slice));
      if ((await stat(incomingPath)).isDirectory()) await syncPath(join(incomingPath, SLICE_LIST));
      await syncPath(incomingPath);
      await this.publish(incomingPath, digest);
    } catch (error) {
      if (isMissing(error)) this.makeIncoming(); // so the caller sees that only the file is gone
      throw this.diskError(error, digest);
    }
  }

  /**
   * Makes the folder `incoming` again, which a user may have removed. If the whole store is gone, nothing is made: its disk may not be
   * mounted.
   */
  protected makeIncoming(): void {
    if (existsSync(join(this.root, 'objects'))) makeFolder(join(this.root, 'incoming'));
  }

  /** Moves the file to its name. A file that is already there is replaced: it has equal bytes, or is damaged. */
  protected async publish(incoming: string, digest: string): Promise<void> {
    const path = this.pathOf(digest);
    const shard = dirname(path);
    const isNew = await rename(incoming, path).then(
      () => false,
      async (error: unknown) => {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
        // A folder is not replaced by a rename. A whole one stays, so that its readers never miss it.
        const condition = await this.verify(digest);
        if (condition === 'missing') throw error;
        if (condition === 'ok') return rm(incoming, { recursive: true }).then(() => false);
        await this.removeAtOnce(path);
        await rename(incoming, path);
        return false;
      },
    );
    if (isNew) {
      // the folder of this shard does not exist yet
      makeFolder(shard);
      await rename(incoming, path);
    }
    await syncPath(shard);
    if (isNew) await syncPath(dirname(shard));
  }

  /** Removes a file or a folder of slices. A folder first gets another name: one that is half removed would look damaged. */
  private async removeAtOnce(path: string): Promise<void> {
    if (!(await stat(path)).isDirectory()) return rm(path);
    this.makeIncoming();
    const aside = this.incoming.newPath();
    try {
      await rename(path, aside);
    } finally {
      await this.incoming.end(aside);
    }
  }

  async slicesOf(digest: string): Promise<Slice[] | null> {
    return (await this.inSlices(digest))?.slices ?? null;
  }

  /** The folder of an artifact's slices, even if it is in quarantine, and what its list names; null: it is a file, or not there. */
  private async inSlices(digest: string): Promise<{ folder: string; slices: Slice[] } | null> {
    for (const folder of [this.pathOf(digest), this.quarantine.pathOf(digest)]) {
      const found = await stat(folder).catch(() => null);
      if (found === null) continue;
      if (!found.isDirectory()) return null;
      const slices = await slicesIn(folder).catch(() => null);
      if (slices !== null && digestOfSlices(slices) === digest) return { folder, slices };
      if ((await stat(folder).catch(() => null)) === null) continue; // it was moved or removed meanwhile
      throw new ArtifactStoreError('ARTIFACT_CORRUPT', `${subjectOf(digest)} has no list of its slices, or another one`, digest);
    }
    return null;
  }

  async range(digest: string, offset: number, bytes: number): Promise<Uint8Array> {
    const found = await this.inSlices(digest);
    if (found !== null)
      return rangeOfSlices(found.slices, offset, bytes, (slice, from, count) =>
        readPart(join(found.folder, slice.digest), from, from + count).catch((error: unknown) => {
          throw toArtifactError(error, 'read', digest);
        }),
      );
    let file: FileHandle | undefined;
    try {
      file = await this.openAt(digest);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, offset);
      return buffer.subarray(0, bytesRead);
    } catch (error) {
      throw toArtifactError(error, 'read', digest);
    } finally {
      await file?.close();
    }
  }

  async *open(digest: string, offset = 0, chunkBytes = CHUNK_BYTES): AsyncIterable<Uint8Array> {
    const found = await this.inSlices(digest);
    if (found === null) yield* this.openPlain(digest, offset, chunkBytes);
    else yield* openSlices(digest, found.slices, offset, (slice, from) => this.sliceFrom(digest, slice.digest, from, chunkBytes));
  }

  openSlice(digest: string, slice: string): AsyncIterable<Uint8Array> {
    return this.sliceFrom(digest, slice, 0, CHUNK_BYTES);
  }

  private async *sliceFrom(digest: string, slice: string, offset: number, chunkBytes: number): AsyncIterable<Uint8Array> {
    let file: FileHandle | undefined;
    try {
      file = await this.openAt(digest, slice);
      yield* readChunks(file, offset, chunkBytes);
    } catch (error) {
      if (!isMissing(error) || (await this.inSlices(digest)) === null) throw toArtifactError(error, 'read', digest);
      throw new ArtifactStoreError('ARTIFACT_CORRUPT', `${subjectOf(digest)} lacks the slice ${slice}`, digest, error);
    } finally {
      await file?.close();
    }
  }

  private async *openPlain(digest: string, offset: number, chunkBytes: number): AsyncIterable<Uint8Array> {
    const hash = offset === 0 ? createHash('sha256') : null;
    let file: FileHandle | undefined;
    try {
      file = await this.openAt(digest);
      for await (const chunk of readChunks(file, offset, chunkBytes)) {
        hash?.update(chunk);
        yield chunk;
      }
    } catch (error) {
      const cameInSlices = (error as NodeJS.ErrnoException).code === 'EISDIR'; // since the store was asked for its slices
      if (!cameInSlices) throw toArtifactError(error, 'read', digest);
      yield* this.open(digest, offset, chunkBytes);
      return;
    } finally {
      await file?.close();
    }
    const actual = hash?.digest('hex');
    if (actual !== undefined && actual !== digest) {
      throw new ArtifactStoreError('ARTIFACT_CORRUPT', `${subjectOf(digest)} holds bytes with digest ${actual}`, digest);
    }
  }

  /** Opens the artifact's file, or one of its slices, even if it is in quarantine. */
  private async openAt(digest: string, slice = ''): Promise<FileHandle> {
    try {
      return await open(join(this.pathOf(digest), slice), 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    const aside = await open(join(this.quarantine.pathOf(digest), slice), 'r').catch(() => null);
    return aside ?? open(join(this.pathOf(digest), slice), 'r'); // the artifact may have been put back in between
  }

  async stat(digest: string): Promise<ArtifactStat | null> {
    const slices = await this.slicesOf(digest).catch(() => []); // a damaged list: a reader finds the damage
    if (slices !== null) return { bytes: bytesOfSlices(slices), mediaType: MEDIA_TYPE_SAFETENSORS };
    let file: FileHandle | undefined;
    try {
      file = await this.openAt(digest);
      const bytes = (await file.stat()).size;
      const head = await file.read(Buffer.alloc(MEDIA_TYPE_PROBE_BYTES), 0, MEDIA_TYPE_PROBE_BYTES, 0);
      return { bytes, mediaType: mediaTypeOf(head.buffer.subarray(0, head.bytesRead), bytes) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw toArtifactError(error, 'read', digest);
    } finally {
      await file?.close();
    }
  }

  verify(digest: string): Promise<ArtifactCondition> {
    return conditionOf(this.open(digest));
  }

  async delete(digest: string): Promise<boolean> {
    const path = this.pathOf(digest);
    try {
      await this.removeAtOnce(path); // a power cut may undo the removal; the next listing then finds the whole artifact again
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw toArtifactError(error, 'delete', digest);
    }
  }

  async digestsStartingWith(prefix: string): Promise<string[]> {
    try {
      const names = await readdir(join(this.root, 'objects', prefix.slice(0, 2)));
      return names.filter((name) => isDigest(name) && name.startsWith(prefix));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw toArtifactError(error, 'read', null);
    }
  }

  async *list(): AsyncIterable<ArtifactEntry> {
    const objects = join(this.root, 'objects');
    for (const { name: shard } of (await readdir(objects, { withFileTypes: true })).filter(isShard).sort(byName)) {
      for (const name of (await readdir(join(objects, shard))).sort()) {
        if (!isDigest(name) || !name.startsWith(shard)) continue;
        const path = join(objects, shard, name);
        const found = await stat(path).catch(() => null); // the file was deleted meanwhile
        if (found === null) continue;
        const bytes = found.isDirectory() ? await bytesAt(path).catch(() => 0) : found.size;
        yield { digest: name, bytes, storedAt: found.mtime };
      }
    }
  }

  async *unknownFiles(): AsyncIterable<string> {
    const objects = join(this.root, 'objects');
    for (const shard of (await readdir(objects, { withFileTypes: true })).sort(byName)) {
      if (!isShard(shard)) {
        yield join(objects, shard.name);
        continue;
      }
      for (const file of (await readdir(join(objects, shard.name), { withFileTypes: true })).sort(byName)) {
        if (!(file.isFile() || file.isDirectory()) || !isDigest(file.name) || !file.name.startsWith(shard.name))
          yield join(objects, shard.name, file.name);
      }
    }
  }
}

const isShard = (entry: Dirent): boolean => entry.isDirectory() && /^[0-9a-f]{2}$/.test(entry.name);
const byName = (left: { name: string }, right: { name: string }): number => (left.name < right.name ? -1 : 1);
