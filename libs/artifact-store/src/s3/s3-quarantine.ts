import type { ArtifactEntry, Quarantine } from '../artifact-store.js';
import { isDigest, requireDigest } from '../digest.js';
import { sumOf, type S3Bucket } from './s3-bucket.js';

/** The quarantine of a bucket. A mark object says since when its artifact is set aside; the artifact's bytes stay where they are. */
export class S3Quarantine implements Quarantine {
  constructor(
    private readonly bucket: S3Bucket,
    private readonly prefix: string,
    private readonly deleteArtifact: (digest: string) => Promise<boolean>,
    /** Resolves to the sizes of an artifact's objects, also of slices that a removal which was cut off has left. */
    private readonly sizesOf: (digest: string) => Promise<number[]>,
  ) {}

  async moveIn(digest: string): Promise<boolean> {
    if ((await this.bucket.head(this.artifactKey(digest))) === null) return false;
    await this.bucket.put(this.markKey(digest), new Uint8Array(), { sha256: sumOf(new Uint8Array()), onlyIfNew: false });
    return true;
  }

  async giveBack(digest: string): Promise<boolean> {
    if ((await this.bucket.head(this.markKey(digest))) === null) return false;
    await this.bucket.remove(this.markKey(digest));
    return true;
  }

  async *list(): AsyncIterable<ArtifactEntry> {
    for await (const { key, changedAt } of this.bucket.list(`${this.prefix}quarantine/`)) {
      const digest = key.slice(-64);
      const sizes = isDigest(digest) ? await this.sizesOf(digest) : [];
      if (sizes.length > 0) yield { digest, bytes: sizes.reduce((sum, bytes) => sum + bytes), storedAt: changedAt };
    }
  }

  async remove(digest: string): Promise<boolean> {
    if ((await this.bucket.head(this.markKey(digest))) === null) return false;
    const wasThere = await this.deleteArtifact(digest);
    await this.bucket.remove(this.markKey(digest));
    return wasThere;
  }

  private artifactKey(digest: string): string {
    return `${this.prefix}objects/${requireDigest(digest).slice(0, 2)}/${digest}`;
  }

  private markKey(digest: string): string {
    return `${this.prefix}quarantine/${requireDigest(digest)}`;
  }
}
