// The quarantine of a folder store: a folder beside the artifacts, in which each file is named by its digest. A file's time of change is
// the time when it was set aside.
import { readdir, rename, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bytesAt, makeFolder } from '#files';
import type { ArtifactEntry, Quarantine } from './artifact-store.js';
import { toArtifactError } from './artifact-store.errors.js';
import { isDigest, requireDigest } from './digest.js';
import { syncPath } from './sync-path.js';

export class FolderQuarantine implements Quarantine {
  constructor(
    private readonly folder: string,
    private readonly pathOfArtifact: (digest: string) => string,
    private readonly removeAtOnce: (path: string) => Promise<void>,
  ) {}

  pathOf(digest: string): string {
    requireDigest(digest);
    return join(this.folder, digest);
  }

  async moveIn(digest: string): Promise<boolean> {
    const from = this.pathOfArtifact(digest);
    try {
      makeFolder(this.folder);
      const now = new Date();
      await utimes(from, now, now); // before the move, so that a crash in between leaves no file in quarantine that seems old
      await this.move(from, this.pathOf(digest));
      return true;
    } catch (error) {
      return absent(error, 'set aside', digest);
    }
  }

  async giveBack(digest: string): Promise<boolean> {
    const to = this.pathOfArtifact(digest);
    try {
      const from = this.pathOf(digest);
      await stat(from);
      if (await stat(to).then(Boolean, () => false)) return false; // the artifact was made again meanwhile
      makeFolder(dirname(to));
      await this.move(from, to);
      return true;
    } catch (error) {
      return absent(error, 'put back', digest);
    }
  }

  async *list(): AsyncIterable<ArtifactEntry> {
    for (const digest of (await this.names()).filter(isDigest).sort()) {
      const found = await stat(join(this.folder, digest)).catch(() => null); // the file was put back or removed meanwhile
      if (found !== null) yield { digest, bytes: await bytesAt(join(this.folder, digest)).catch(() => 0), storedAt: found.mtime };
    }
  }

  async remove(digest: string): Promise<boolean> {
    try {
      await this.removeAtOnce(this.pathOf(digest));
      return true;
    } catch (error) {
      return absent(error, 'delete', digest);
    }
  }

  /** Renames the file. The move is durable when this resolves. */
  private async move(from: string, to: string): Promise<void> {
    await rename(from, to);
    await syncPath(dirname(to));
    await syncPath(dirname(from));
  }

  private async names(): Promise<string[]> {
    try {
      return await readdir(this.folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw toArtifactError(error, 'read', null);
    }
  }
}

/** Returns false if the file is not there. @throws ArtifactStoreError for every other error */
function absent(error: unknown, action: string, digest: string): false {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
  throw toArtifactError(error, action, digest);
}
