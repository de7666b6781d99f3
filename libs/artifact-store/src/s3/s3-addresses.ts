// Signs the requests by which an engine on another machine reads artifacts from the bucket and writes them there
// (docs/design/object-storage.md). Parts that an earlier try has sent are not sent again, as in an upload of this machine.
import type { Slice } from '#files';
import type { ArtifactAddresses, ArtifactToWrite, PutParts, SignedPart } from '../artifact-store.js';
import { ArtifactStoreError, subjectOf } from '../artifact-store.errors.js';
import { ObjectThere } from './conditional-writes.js';
import type { S3Bucket } from './s3-bucket.js';
import { UploadGone, type Part, type UploadedPart } from './s3-objects.js';
import { isWhole, PART_BYTES, type UploadRequest } from './s3-upload.js';

export class S3Addresses implements ArtifactAddresses {
  readonly partBytes = PART_BYTES;

  /** @param foundThere called with an artifact that the bucket had before: it may be set aside */
  constructor(
    private readonly bucket: S3Bucket,
    private readonly keys: { keyOf(digest: string): string; keyOfSlice(digest: string, slice: string): string },
    private readonly foundThere: (digest: string) => Promise<unknown>,
    private readonly slices: {
      of(digest: string): Promise<Slice[] | null>;
      put(digest: string, slices: readonly Slice[]): Promise<void>;
    },
  ) {}

  async toRead(digest: string): Promise<string[]> {
    const slices = await this.slices.of(digest);
    const keys = slices === null ? [this.keys.keyOf(digest)] : slices.map((slice) => this.keys.keyOfSlice(digest, slice.digest));
    return Promise.all(keys.map((key) => this.bucket.signing.read(key)));
  }

  /** Slices are written one after the other, so that no address waits long for its turn. The list follows them. */
  async write(artifact: ArtifactToWrite, put: PutParts): Promise<void> {
    const { digest, slices } = artifact;
    if (slices.length === 0) return this.writePiece(this.keys.keyOf(digest), artifact, put);
    if ((await this.slices.of(digest)) !== null) return void (await this.foundThere(digest));
    let [begin, sums] = [0, 0];
    for (const slice of slices) {
      const count = Math.ceil(slice.bytes / PART_BYTES);
      const piece = { ...artifact, ...slice, partSums: artifact.partSums.slice(sums, sums + count) };
      const offset = begin;
      const putInSlice: PutParts = (parts) => put(parts.map((part) => ({ ...part, offset: offset + part.offset })));
      await this.writePiece(this.keys.keyOfSlice(digest, slice.digest), piece, putInSlice);
      begin += slice.bytes;
      sums += count;
    }
    await this.slices.put(digest, slices);
  }

  private async writePiece(
    key: string,
    { digest, bytes, partSums, mediaType }: Pick<ArtifactToWrite, 'digest' | 'bytes' | 'partSums' | 'mediaType'>,
    put: PutParts,
  ): Promise<void> {
    const sums = partSums.map((sum) => Buffer.from(sum).toString('base64'));
    const wanted: UploadRequest = { bucket: this.bucket, key, bytes, digest, partSums: sums };
    if (await this.bucket.mayHave(wanted.key)) {
      if (await isWhole(wanted)) return void (await this.foundThere(digest));
      // The other machine alone says that its bytes have the digest, so it must not replace any.
      throw new ArtifactStoreError('ARTIFACT_CORRUPT', `${subjectOf(digest)} is there with other bytes (${this.bucket.where})`, digest);
    }
    if (bytes > PART_BYTES) return this.writeInParts(wanted, mediaType, put);
    await put([{ offset: 0, bytes, ...(await this.bucket.signing.put(key, sums[0]!, mediaType)) }]);
    await requireWritten(wanted);
  }

  private async writeInParts(wanted: UploadRequest, mediaType: string, put: PutParts): Promise<void> {
    const { bucket, key, bytes, partSums } = wanted;
    const begun = await this.begun(key);
    const uploadId = begun?.uploadId ?? (await bucket.beginUpload(key, mediaType));
    const parts: Part[] = [];
    const missing: { part: Part; signed: SignedPart }[] = [];
    for (const [index, sha256] of partSums.entries()) {
      const offset = index * PART_BYTES;
      const size = Math.min(PART_BYTES, bytes - offset);
      const before = begun?.parts.get(index + 1);
      const isThere = before?.bytes === size && before.sha256 === sha256;
      const part = { number: index + 1, etag: isThere ? before.etag : '', sha256 };
      parts.push(part);
      if (isThere) continue;
      const request = await bucket.signing.part(key, uploadId, part.number, sha256);
      missing.push({ part, signed: { offset, bytes: size, ...request } });
    }
    const etags = missing.length === 0 ? [] : await put(missing.map(({ signed }) => signed));
    for (const [index, { part }] of missing.entries()) part.etag = etags[index] ?? '';
    await bucket.endUpload(key, uploadId, parts, true).catch((error: unknown) => {
      // Another server was faster, or the answer to this upload's own completion was lost.
      if (!(error instanceof ObjectThere) && !(error instanceof UploadGone)) throw error;
    });
    await requireWritten(wanted);
  }

  /** The upload that an earlier try has left open, or null. */
  private async begun(key: string): Promise<{ uploadId: string; parts: Map<number, UploadedPart> } | null> {
    const uploadId = await this.bucket.openUpload(key);
    if (uploadId === null) return null;
    const parts = new Map<number, UploadedPart>();
    try {
      for await (const part of this.bucket.uploadedParts(key, uploadId)) parts.set(part.number, part);
      return { uploadId, parts };
    } catch (error) {
      if (error instanceof UploadGone) return null;
      throw error;
    }
  }
}

/** A bucket that keeps sums has checked those of the parts. Every reader checks the digest of the whole. */
async function requireWritten({ bucket, key, bytes, digest }: UploadRequest): Promise<void> {
  const there = await bucket.head(key);
  if (there?.bytes === bytes) return;
  const what = there === null ? 'is not there' : `has ${there.bytes} bytes, not ${bytes},`;
  throw new ArtifactStoreError('ARTIFACT_STORE_UNAVAILABLE', `${subjectOf(digest)} ${what} after it was written (${bucket.where})`, digest);
}
