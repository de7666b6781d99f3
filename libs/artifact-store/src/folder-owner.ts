// The file in an artifact folder that names the event store to which the artifacts belong.
import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { OwnerNote } from './artifact-store.js';
import { syncPath } from './sync-path.js';

const NAME_FILE = 'event-store.id';

export class FolderOwner implements OwnerNote {
  private readonly file: string;

  constructor(private readonly folder: string) {
    this.file = join(folder, NAME_FILE);
  }

  async read(): Promise<string | null> {
    try {
      return (await readFile(this.file, 'utf8')).trim() || null;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  async write(name: string, mayReplace: boolean): Promise<void> {
    const draft = `${this.file}.${randomUUID()}`;
    try {
      await writeFile(draft, `${name}\n`);
      await syncPath(draft);
      if (mayReplace) await rename(draft, this.file);
      else await link(draft, this.file); // a link appears whole or not at all, and does not replace the name that the first server wrote
      await syncPath(this.folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      await rm(draft, { force: true }).catch(() => undefined);
    }
  }
}
