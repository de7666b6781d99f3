import { open, type FileHandle } from 'node:fs/promises';
import type { FolderIncoming } from '../folder-incoming.js';
import type { FileCache } from './file-cache.js';

/** Copies bytes that pass to a reader into the cache. If the disk has no room, there is no copy, and the reader still gets its bytes. */
export class CacheCopy {
  private readonly path: string;
  private file: FileHandle | null | undefined;
  private bytes = 0;

  constructor(
    private readonly cache: FileCache,
    private readonly incoming: FolderIncoming,
  ) {
    this.path = incoming.newPath();
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.file === null) return;
    this.bytes += chunk.byteLength;
    try {
      if (!this.cache.takes(this.bytes)) throw new Error('larger than the cache');
      this.file ??= await open(this.path, 'wx');
      for (let done = 0; done < chunk.byteLength;) done += (await this.file.write(chunk, done)).bytesWritten;
    } catch {
      await this.close();
      this.file = null;
    }
  }

  async admit(digest: string): Promise<void> {
    if (this.file == null) return;
    await this.close();
    await this.cache.admit(this.path, digest, this.bytes).catch(() => undefined);
  }

  async end(): Promise<void> {
    await this.close();
    await this.incoming.end(this.path).catch(() => undefined);
  }

  private async close(): Promise<void> {
    const { file } = this;
    this.file = undefined;
    await file?.close().catch(() => undefined);
  }
}
