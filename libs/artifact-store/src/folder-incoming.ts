// The files of a folder store that have no digest yet: files that `put` writes, and files that an engine writes.
import { randomUUID } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { bytesAt } from '#files';
import type { Incoming, IncomingFile } from './artifact-store.js';
import { toArtifactError } from './artifact-store.errors.js';

/** A random UUID, to which an engine adds "-" and the step of a state. Files with other names are not the store's. */
const NAME = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(-\d+)?$/;

export class FolderIncoming implements Incoming {
  /** The UUIDs of paths that this process has handed out and not ended yet. */
  private readonly inUse = new Set<string>();

  constructor(private readonly folder: string) {}

  newPath(): string {
    const id = randomUUID();
    this.inUse.add(id);
    return join(this.folder, id);
  }

  async end(path: string): Promise<void> {
    const id = basename(path);
    this.inUse.delete(id);
    for (const name of await this.names()) if (idOf(name) === id) await this.remove(name);
  }

  async *list(): AsyncIterable<IncomingFile> {
    for (const name of await this.names()) {
      const found = await stat(join(this.folder, name)).catch(() => null); // the file was taken over or removed meanwhile
      if (found !== null)
        yield {
          name,
          bytes: await bytesAt(join(this.folder, name)).catch(() => 0),
          changedAt: found.mtime,
          isInUse: this.inUse.has(idOf(name)!),
        };
    }
  }

  async remove(name: string): Promise<boolean> {
    if (idOf(name) === undefined) return false;
    try {
      await rm(join(this.folder, name), { recursive: true });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw toArtifactError(error, 'delete', null);
    }
  }

  private async names(): Promise<string[]> {
    try {
      return (await readdir(this.folder)).filter((name) => idOf(name) !== undefined);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw toArtifactError(error, 'read', null);
    }
  }
}

function idOf(name: string): string | undefined {
  return NAME.exec(name)?.[1];
}
