// Keeps artifacts in a bucket, behind a cache of files (docs/design/object-storage.md). An object appears in the bucket only when it is
// whole.
import { createHash } from 'node:crypto';
import { open, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  bytesOfSlices,
  decodeSliceList,
  digestOfSlices,
  encodeSliceList,
  makeFolder,
  SLICE_LIST_BYTES_MAX,
  slicesIn,
  type Slice,
} from '#files';
import type { ArtifactCondition, ArtifactEntry, ArtifactStat, ArtifactStore, Quarantine } from '../artifact-store.js';
import { ArtifactStoreError, subjectOf, toArtifactError } from '../artifact-store.errors.js';
import { isDigest, requireDigest } from '../digest.js';
import { FolderIncoming } from '../folder-incoming.js';
import { mediaTypeOf, MEDIA_TYPE_PROBE_BYTES, MEDIA_TYPE_SAFETENSORS, MEDIA_TYPE_SLICE_LIST } from '../media-type.js';
import { CHUNK_BYTES, conditionOf, readChunks } from '../read-chunks.js';
import { StoreReach } from '../store-reach.js';
import { openSlices, rangeOfSlices } from '../sliced-bytes.js';
import { writeAll } from '../write-all.js';
import { WritingStore } from '../writing-store.js';
import { CacheCopy } from './cache-copy.js';
import { FileCache } from './file-cache.js';
import { S3Addresses } from './s3-addresses.js';
import { S3Bucket } from './s3-bucket.js';
import type { S3Location } from './s3-location.js';
import { S3Owner } from './s3-owner.js';
import { S3Quarantine } from './s3-quarantine.js';
import { upload } from './s3-upload.js';

export async function openS3Store(location: S3Location): Promise<ArtifactStore> {
  try {
    makeFolder(join(location.cacheFolder, 'incoming'));
    const cache = await FileCache.open(join(location.cacheFolder, 'objects'), location.cacheBytes);
    return new S3Store(location, cache);
  } catch (error) {
    throw toArtifactError(error, 'open', null);
  }
}

class S3Store extends WritingStore implements ArtifactStore {
  readonly reach = new StoreReach();
  readonly incoming: FolderIncoming;
  readonly quarantine: Quarantine;
  readonly owner: S3Owner;
  readonly sideFolder: string;
  protected readonly isDurable = false;
  readonly addresses: S3Addresses;
  private readonly bucket: S3Bucket;
  private readonly prefix: string;
  /** The uploads that are going on, by key: each object has at most one at a time. */
  private readonly uploads = new Map<string, Promise<void>>();
  /** The slices of artifacts, and null for those that are one piece, as far as they were asked for. */
  private readonly known = new Map<string, Slice[] | null>();

  constructor(
    location: S3Location,
    private readonly cache: FileCache,
  ) {
    super();
    this.prefix = location.prefix;
    this.sideFolder = location.cacheFolder;
    this.bucket = new S3Bucket(location, this.reach);
    this.incoming = new FolderIncoming(join(location.cacheFolder, 'incoming'));
    this.owner = new S3Owner(location, this.bucket);
    this.quarantine = new S3Quarantine(
      this.bucket,
      this.prefix,
      (digest) => this.delete(digest),
      async (digest) => (await this.objectsOf(digest)).map(({ bytes }) => bytes),
    );
    this.addresses = new S3Addresses(
      this.bucket,
      { keyOf: (digest) => this.keyOf(digest), keyOfSlice: (digest, slice) => this.keyOfSlice(digest, slice) },
      (digest) => this.quarantine.giveBack(digest),
      { of: (digest) => this.slicesOf(digest), put: (digest, slices) => this.putList(digest, slices) },
    );
    this.reach.probe = (access) => (access === 'read' ? this.owner.ask() : this.owner.tryToWrite());
  }

  fileOf(digest: string): string | null {
    return this.cache.fileOf(digest);
  }

  async adopt(incomingPath: string, digest: string): Promise<void> {
    requireDigest(digest);
    if (dirname(incomingPath) !== join(this.sideFolder, 'incoming')) throw new Error(`${incomingPath} is not in the incoming folder`);
    try {
      const found = await stat(incomingPath);
      if (found.isDirectory()) {
        await this.adoptSlices(incomingPath, digest);
        return;
      }
      await this.send(this.keyOf(digest), incomingPath, digest, found.size);
      await this.cache.admit(incomingPath, digest, found.size).catch(() => rm(incomingPath, { force: true }));
    } catch (error) {
      throw this.diskError(error, digest);
    }
  }

  /** The list is written last, so that the artifact appears when all of its slices are there. */
  private async adoptSlices(folder: string, digest: string): Promise<void> {
    const slices = await slicesIn(folder);
    if (slices === null || digestOfSlices(slices) !== digest)
      throw new ArtifactStoreError('ARTIFACT_CORRUPT', `the list of the slices of ${subjectOf(digest)} is damaged`, digest);
    for (const slice of slices)
      await this.send(this.keyOfSlice(digest, slice.digest), join(folder, slice.digest), slice.digest, slice.bytes);
    await this.putList(digest, slices);
    await rm(folder, { recursive: true, force: true });
  }

  private async putList(digest: string, slices: readonly Slice[]): Promise<void> {
    const list = this.incoming.newPath();
    try {
      const { bytes } = await writeAll(await this.newIncoming(list), Buffer.from(encodeSliceList(slices)));
      await this.send(this.keyOf(digest), list, digest, bytes);
      this.known.set(digest, [...slices]);
    } finally {
      await this.incoming.end(list).catch(() => undefined);
    }
  }

  async slicesOf(digest: string): Promise<Slice[] | null> {
    const before = this.known.get(digest);
    if (before !== undefined) return before;
    const head = await this.bucket.peek(this.keyOf(digest), MEDIA_TYPE_PROBE_BYTES);
    return head === null ? null : this.slicesBehind(digest, head);
  }

  /** @param head how the object of the artifact begins */
  private async slicesBehind(digest: string, { bytes, wholeBytes }: { bytes: Uint8Array; wholeBytes: number }): Promise<Slice[] | null> {
    const isList = mediaTypeOf(bytes, wholeBytes) === MEDIA_TYPE_SLICE_LIST && wholeBytes <= SLICE_LIST_BYTES_MAX;
    const list = isList ? await this.bucket.range(this.keyOf(digest), 0, wholeBytes) : null;
    const slices = list === null ? null : decodeSliceList(Buffer.from(list.bytes).toString('latin1'));
    if (slices !== null && digestOfSlices(slices) !== digest)
      throw new ArtifactStoreError('ARTIFACT_CORRUPT', `the list of the slices of ${subjectOf(digest)} is damaged`, digest);
    this.known.set(digest, slices);
    return slices;
  }

  async *open(digest: string, offset = 0, chunkBytes = CHUNK_BYTES): AsyncIterable<Uint8Array> {
    const cached = await this.cache.wholeFileOf(requireDigest(digest));
    const file = cached === null ? null : await open(cached, 'r').catch(() => null);
    if (file === null) {
      yield* this.fromBucket(digest, offset, chunkBytes, true);
      return;
    }
    try {
      yield* readChunks(file, offset, chunkBytes); // the file was checked a moment ago, and nothing changes a file of the cache
    } catch (error) {
      await this.cache.drop(digest);
      throw toArtifactError(error, 'read', digest);
    } finally {
      await file.close();
    }
  }

  async range(digest: string, offset: number, bytes: number): Promise<Uint8Array> {
    const slices = await this.slicesOf(digest);
    if (slices !== null)
      return rangeOfSlices(
        slices,
        offset,
        bytes,
        async (slice, from, count) => (await this.bucket.range(this.keyOfSlice(digest, slice.digest), from, count)).bytes,
      );
    return (await this.bucket.range(this.keyOf(digest), offset, bytes)).bytes;
  }

  async stat(digest: string): Promise<ArtifactStat | null> {
    const found = await this.bucket.peek(this.keyOf(digest), MEDIA_TYPE_PROBE_BYTES);
    if (found === null) return null;
    const slices = await this.slicesBehind(digest, found);
    if (slices !== null) return { bytes: bytesOfSlices(slices), mediaType: MEDIA_TYPE_SAFETENSORS };
    return { bytes: found.wholeBytes, mediaType: mediaTypeOf(found.bytes, found.wholeBytes) };
  }

  /** Reads the artifact from the bucket: a whole copy in the cache does not prove that the bucket has it. */
  verify(digest: string): Promise<ArtifactCondition> {
    this.known.delete(digest);
    return conditionOf(this.fromBucket(digest, 0, CHUNK_BYTES, false));
  }

  /** The list goes first, so that no reader takes the slices that are left for a whole artifact. A removal that was cut off ends here. */
  async delete(digest: string): Promise<boolean> {
    const objects = await this.objectsOf(digest);
    for (const { key } of objects) await this.bucket.remove(key);
    this.known.delete(digest);
    await this.cache.drop(digest);
    return objects.length > 0;
  }

  /** The objects that an artifact has, or that a removal which was cut off has left: the list or the whole artifact, then the slices. */
  private async objectsOf(digest: string): Promise<{ key: string; bytes: number }[]> {
    const key = this.keyOf(digest);
    const head = await this.bucket.head(key);
    const objects = head === null ? [] : [{ key, bytes: head.bytes }];
    for await (const slice of this.bucket.list(this.keyOfSlice(digest, ''))) objects.push(slice);
    return objects;
  }

  async digestsStartingWith(prefix: string): Promise<string[]> {
    const digests: string[] = [];
    for await (const { key } of this.bucket.list(`${this.prefix}objects/${prefix.slice(0, 2)}/${prefix}`)) {
      const digest = key.slice(-64);
      if (isDigest(digest)) digests.push(digest);
    }
    return digests;
  }

  async *list(): AsyncIterable<ArtifactEntry> {
    const aside = new Set<string>();
    for await (const { key } of this.bucket.list(`${this.prefix}quarantine/`)) aside.add(key.slice(-64));
    const slices = await this.sliceBytes();
    for await (const { key, bytes, changedAt } of this.bucket.list(`${this.prefix}objects/`)) {
      const digest = key.slice(-64);
      if (this.isArtifact(key, digest) && !aside.has(digest))
        yield { digest, bytes: bytes + (slices.get(digest) ?? 0), storedAt: changedAt };
    }
  }

  /** The bytes of all slices, by the digest of their artifact. */
  private async sliceBytes(): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    for await (const { key, bytes } of this.bucket.list(`${this.prefix}slices/`)) {
      const digest = key.slice(-129, -65);
      found.set(digest, (found.get(digest) ?? 0) + bytes);
    }
    return found;
  }

  async *unknownFiles(): AsyncIterable<string> {
    const withoutList = await this.sliceBytes();
    for await (const { key } of this.bucket.list(`${this.prefix}objects/`)) {
      if (this.isArtifact(key, key.slice(-64))) withoutList.delete(key.slice(-64));
      else yield key;
    }
    // They are of an upload that is under way or was cut off.
    for (const digest of withoutList.keys()) yield `${this.prefix}slices/${digest}`;
  }

  private isArtifact(key: string, digest: string): boolean {
    return isDigest(digest) && key === this.keyOf(digest);
  }

  private keyOf(digest: string): string {
    requireDigest(digest);
    return `${this.prefix}objects/${digest.slice(0, 2)}/${digest}`;
  }

  private keyOfSlice(digest: string, slice: string): string {
    return `${this.prefix}slices/${requireDigest(digest)}/${slice}`;
  }

  private async send(key: string, path: string, digest: string, bytes: number): Promise<void> {
    while (this.uploads.has(key)) await this.uploads.get(key)!.catch(() => undefined);
    const underWay = upload(this.bucket, key, { path, bytes, digest })
      // An object that existed already may be set aside, so it is taken back. A new one is not set aside, and the keeper of artifacts takes
      // back what an event needs.
      .then((wasThere) => (wasThere ? this.quarantine.giveBack(digest) : false))
      .then(() => undefined);
    this.uploads.set(key, underWay);
    try {
      await underWay;
    } finally {
      this.uploads.delete(key);
    }
  }

  /** Yields the bytes from the bucket. If `keep`, a whole artifact is copied into the cache on its way. */
  private async *fromBucket(digest: string, offset: number, chunkBytes: number, keep: boolean): AsyncGenerator<Uint8Array> {
    const slices = await this.slicesOf(digest);
    if (slices === null) yield* this.piece(digest, offset, chunkBytes, keep);
    else yield* openSlices(digest, slices, offset, (slice, from) => this.bucket.read(this.keyOfSlice(digest, slice.digest), from));
  }

  openSlice(digest: string, slice: string): AsyncIterable<Uint8Array> {
    return this.bucket.read(this.keyOfSlice(digest, slice), 0);
  }

  private async *piece(digest: string, offset: number, chunkBytes: number, keep: boolean): AsyncGenerator<Uint8Array> {
    const hash = offset === 0 ? createHash('sha256') : null;
    const copy = keep && offset === 0 ? new CacheCopy(this.cache, this.incoming) : null;
    try {
      for await (const chunk of this.bucket.read(this.keyOf(digest), offset)) {
        hash?.update(chunk);
        await copy?.write(chunk);
        for (let at = 0; at < chunk.byteLength; at += chunkBytes) yield chunk.subarray(at, at + chunkBytes);
      }
      const actual = hash?.digest('hex');
      if (actual !== undefined && actual !== digest)
        throw new ArtifactStoreError(
          'ARTIFACT_CORRUPT',
          `${subjectOf(digest)} holds bytes with digest ${actual} (${this.bucket.where})`,
          digest,
        );
      await copy?.admit(digest);
    } finally {
      await copy?.end();
    }
  }

  protected publish(incoming: string, digest: string): Promise<void> {
    return this.adopt(incoming, digest);
  }

  protected makeIncoming(): void {
    makeFolder(join(this.sideFolder, 'incoming'));
  }
}
