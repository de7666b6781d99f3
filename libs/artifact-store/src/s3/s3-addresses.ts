// Signs the requests by which an engine on another machine reads artifacts from the bucket and writes them there
// (docs/design/object-storage.md). Parts that an earlier try has sent are not sent again, as in an upload of this machine.
import type { ArtifactAddresses, ArtifactToWrite, SignedPart, SignedWrite } from '../artifact-store.js';
import { ArtifactStoreError, subjectOf } from '../artifact-store.errors.js';
import { ObjectThere } from './conditional-writes.js';
import type { S3Bucket } from './s3-bucket.js';
import { UploadGone, type Part, type UploadedPart } from './s3-objects.js';
import { isWhole, PART_BYTES, type Wanted } from './s3-upload.js';

export class S3Addresses implements ArtifactAddresses {
  readonly partBytes = PART_BYTES;

  /** @param foundThere called with an artifact that the bucket had before: it may be set aside */
  constructor(
    private readonly bucket: S3Bucket,
    private readonly keyOf: (digest: string) => string,
    private readonly foundThere: (digest: string) => Promise<unknown>,
  ) {}

  toRead(digest: string): Promise<string> {
    return this.bucket.signing.read(this.keyOf(digest));
  }

  async toWrite({ digest, bytes, partSums, mediaType }: ArtifactToWrite): Promise<SignedWrite | null> {
    const sums = partSums.map((sum) => Buffer.from(sum).toString('base64'));
    const wanted: Wanted = { bucket: this.bucket, key: this.keyOf(digest), bytes, digest, partSums: sums };
    const wasThere = await this.bucket.mayHave(wanted.key);
    if (wasThere && (await isWhole(wanted))) {
      await this.foundThere(digest);
      return null;
    }
    return bytes <= PART_BYTES ? this.inOneRequest(wanted, mediaType) : this.inParts(wanted, mediaType, wasThere);
  }

  private async inOneRequest(wanted: Wanted, mediaType: string): Promise<SignedWrite> {
    const request = await this.bucket.signing.put(wanted.key, wanted.partSums[0]!, mediaType);
    return { parts: [{ offset: 0, bytes: wanted.bytes, ...request }], complete: () => requireWritten(wanted) };
  }

  private async inParts(wanted: Wanted, mediaType: string, wasThere: boolean): Promise<SignedWrite> {
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
    return {
      parts: missing.map(({ signed }) => signed),
      complete: async (etags) => {
        for (const [index, { part }] of missing.entries()) part.etag = etags[index] ?? '';
        await bucket.endUpload(key, uploadId, parts, !wasThere).catch((error: unknown) => {
          // Another server was faster, or the answer to this upload's own completion was lost.
          if (!(error instanceof ObjectThere) && !(error instanceof UploadGone)) throw error;
        });
        await requireWritten(wanted);
      },
    };
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
async function requireWritten({ bucket, key, bytes, digest }: Wanted): Promise<void> {
  const there = await bucket.head(key);
  if (there?.bytes === bytes) return;
  const what = there === null ? 'is not there' : `has ${there.bytes} bytes, not ${bytes},`;
  throw new ArtifactStoreError('ARTIFACT_STORE_UNAVAILABLE', `${subjectOf(digest)} ${what} after it was written (${bucket.where})`, digest);
}
