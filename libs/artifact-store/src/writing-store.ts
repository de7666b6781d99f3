// Takes an artifact into a store: its bytes are written to a file that has no name yet, and their digest is checked.
import { open, type FileHandle } from 'node:fs/promises';
import { joinedBytes, type Slice } from '#files';
import type { PutOptions, PutResult } from './artifact-store.js';
import { ArtifactStoreError, toArtifactError } from './artifact-store.errors.js';
import { requireDigest } from './digest.js';
import type { FolderIncoming } from './folder-incoming.js';
import { ofSource, SourceError, writeAll, writeSlices } from './write-all.js';

export abstract class WritingStore {
  abstract readonly incoming: FolderIncoming;
  abstract readonly sideFolder: string;
  /** Whether the file of an artifact is on the disk, and not only in its cache, before it gets its name. */
  protected abstract readonly isDurable: boolean;

  abstract open(digest: string): AsyncIterable<Uint8Array>;
  /** Gives a whole file, or a folder of slices, its name. */
  protected abstract publish(incoming: string, digest: string): Promise<void>;
  /** Makes the folder of new files again, which a user may have removed. */
  protected abstract makeIncoming(): void;

  async put(bytes: AsyncIterable<Uint8Array> | Uint8Array, options: PutOptions = {}): Promise<PutResult> {
    const { expectedDigest } = options;
    if (expectedDigest !== undefined) requireDigest(expectedDigest);
    const incoming = this.incoming.newPath();
    try {
      const result = await this.write(incoming, bytes, options.slices);
      if (expectedDigest !== undefined && expectedDigest !== result.digest) {
        const problem = `the bytes have digest ${result.digest}, not the announced ${expectedDigest}`;
        throw new ArtifactStoreError('ARTIFACT_CORRUPT', problem, expectedDigest);
      }
      await options.beforeNamed?.(result.digest);
      await this.publish(incoming, result.digest);
      return result;
    } catch (error) {
      if (error instanceof SourceError) throw error.cause;
      throw this.diskError(error, expectedDigest ?? null);
    } finally {
      await this.incoming.end(incoming).catch(() => undefined);
    }
  }

  async get(digest: string): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.open(digest)) chunks.push(chunk);
    return joinedBytes(chunks);
  }

  private async write(path: string, bytes: AsyncIterable<Uint8Array> | Uint8Array, slices?: readonly Slice[]): Promise<PutResult> {
    if (slices === undefined)
      return writeAll(await this.newIncoming(path), bytes instanceof Uint8Array ? bytes : ofSource(bytes), this.isDurable);
    this.makeIncoming();
    return writeSlices(path, ofSource(bytes instanceof Uint8Array ? [bytes] : bytes), slices);
  }

  protected newIncoming(path: string): Promise<FileHandle> {
    return open(path, 'wx').catch((error: unknown) => {
      if (!isMissing(error)) throw error;
      this.makeIncoming();
      return open(path, 'wx');
    });
  }

  /** Translates an error of a write. It names the folder, so that the user knows where to make room, or which folder is gone. */
  protected diskError(error: unknown, digest: string | null): unknown {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined || error instanceof ArtifactStoreError) return error;
    const named = isMissing(error)
      ? new ArtifactStoreError('ARTIFACT_STORE_UNAVAILABLE', 'the folder of the artifact store, or a file in it, is gone', digest, error)
      : toArtifactError(error, 'write', digest);
    return new ArtifactStoreError(named.code, `${named.message} (folder ${this.sideFolder})`, digest, error);
  }
}

export const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';
