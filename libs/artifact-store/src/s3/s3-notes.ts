import { NOTES, type Notes } from '../artifact-store.js';
import type { ArtifactStoreError } from '../artifact-store.errors.js';
import { StoreReach } from '../store-reach.js';
import { S3Bucket, sumOf } from './s3-bucket.js';
import type { S3Location } from './s3-location.js';

export class S3Notes implements Notes {
  private readonly bucket: S3Bucket;
  private readonly prefix: string;

  constructor(location: S3Location) {
    this.bucket = new S3Bucket(location, new StoreReach());
    this.prefix = `${location.prefix}${NOTES}/`;
  }

  async write(name: string, text: string): Promise<void> {
    const bytes = Buffer.from(text);
    await this.bucket.put(this.prefix + name, bytes, { sha256: sumOf(bytes), onlyIfNew: false });
  }

  async read(name: string): Promise<string | null> {
    const chunks: Uint8Array[] = [];
    try {
      for await (const chunk of this.bucket.read(this.prefix + name, 0)) chunks.push(chunk);
    } catch (error) {
      if ((error as ArtifactStoreError).code === 'ARTIFACT_MISSING') return null;
      throw error;
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  async names(): Promise<string[]> {
    const found: string[] = [];
    for await (const { key } of this.bucket.list(this.prefix)) found.push(key.slice(this.prefix.length));
    return found.sort();
  }
}
