// The object in a bucket that names the event store to which the artifacts belong.
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OwnerNote } from '../artifact-store.js';
import { ArtifactStoreError } from '../artifact-store.errors.js';
import { ObjectThere } from './conditional-writes.js';
import { sumOf, type S3Bucket } from './s3-bucket.js';
import { s3Address, type S3Location } from './s3-location.js';

const OWNER = 'event-store.id';
const START_WAITS_MS = 10_000;

/**
 * Reads and writes the name. The cache folder remembers it, so that a server that has worked with the bucket can start while the bucket is
 * out of reach.
 */
export class S3Owner implements OwnerNote {
  private readonly key: string;
  private readonly file: string;
  private readonly address: string;

  constructor(
    location: S3Location,
    private readonly bucket: S3Bucket,
  ) {
    this.key = `${location.prefix}${OWNER}`;
    this.file = join(location.cacheFolder, OWNER);
    this.address = `${s3Address(location)} ${location.endpoint ?? ''}`.trim();
  }

  async read(): Promise<string | null> {
    const remembered = await this.remembered();
    try {
      const name = await (remembered === null ? this.ask() : inTime(this.ask()));
      if (name !== null && name !== remembered) await this.remember(name);
      return name;
    } catch (error) {
      if (remembered === null || (error as ArtifactStoreError).code === 'ARTIFACT_STORE_NOT_FOUND') throw error;
      return remembered;
    }
  }

  async write(name: string, mayReplace: boolean): Promise<void> {
    const bytes = Buffer.from(`${name}\n`);
    try {
      await this.bucket.put(this.key, bytes, { sha256: sumOf(bytes), onlyIfNew: !mayReplace });
    } catch (error) {
      if (error instanceof ObjectThere) return; // another server was faster, and its name is read next
      throw error;
    }
    await this.remember(name);
  }

  /** Reads the name that the bucket has now. */
  async ask(): Promise<string | null> {
    const chunks: Uint8Array[] = [];
    try {
      for await (const chunk of this.bucket.read(this.key, 0)) chunks.push(chunk);
    } catch (error) {
      if ((error as ArtifactStoreError).code === 'ARTIFACT_MISSING') return null;
      throw error;
    }
    return Buffer.concat(chunks).toString('utf8').trim() || null;
  }

  /**
   * Tests whether the bucket can be written, without changing it: writes the existing name again, on the condition that there is no name.
   */
  async tryToWrite(): Promise<void> {
    const name = await this.ask();
    if (name !== null) await this.write(name, false);
  }

  private async remembered(): Promise<string | null> {
    try {
      const { name, address } = JSON.parse(await readFile(this.file, 'utf8')) as { name: string; address: string };
      return address === this.address ? name : null;
    } catch {
      return null; // the first start with this cache folder, or a start that was cut short
    }
  }

  private async remember(name: string): Promise<void> {
    const draft = `${this.file}.new`;
    await writeFile(draft, `${JSON.stringify({ name, address: this.address })}\n`);
    await rename(draft, this.file);
  }
}

/** Limits the wait at the start of the server, which goes on if the bucket does not answer. */
async function inTime<T>(asked: Promise<T>): Promise<T> {
  const late = new AbortController();
  const wait = sleep(START_WAITS_MS, undefined, { signal: late.signal });
  try {
    return await Promise.race([
      asked,
      wait.then(() => {
        throw new ArtifactStoreError('ARTIFACT_STORE_UNAVAILABLE', 'the bucket did not answer in time');
      }),
    ]);
  } finally {
    late.abort();
    wait.catch(() => undefined);
    asked.catch(() => undefined);
  }
}
