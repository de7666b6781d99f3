// Small files with names beside the artifacts of a place, in the folder `notes` there or below that beginning of the keys of a bucket.
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '#files';
import { NOTES, type Notes } from './artifact-store.js';
import { toArtifactError } from './artifact-store.errors.js';
import type { ArtifactStoreLocation } from './open-artifact-store.js';
import { syncPath } from './sync-path.js';

export async function openNotes(location: ArtifactStoreLocation): Promise<Notes> {
  if ('folder' in location) return new FolderNotes(join(location.folder, NOTES));
  const { S3Notes } = await import('./s3/s3-notes.js'); // loaded here, since the client of buckets is large
  return new S3Notes(location);
}

class FolderNotes implements Notes {
  constructor(private readonly folder: string) {}

  async write(name: string, text: string): Promise<void> {
    const file = join(this.folder, name);
    const draft = `${file}.new`;
    try {
      makeFolder(this.folder);
      await writeFile(draft, text, { mode: 0o600 });
      await syncPath(draft);
      await rename(draft, file);
      await syncPath(this.folder);
    } catch (error) {
      throw toArtifactError(error, 'write', null);
    }
  }

  async read(name: string): Promise<string | null> {
    try {
      return await readFile(join(this.folder, name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw toArtifactError(error, 'read', null);
    }
  }

  async names(): Promise<string[]> {
    try {
      return (await readdir(this.folder)).filter((name) => !name.endsWith('.new')).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw toArtifactError(error, 'list', null);
    }
  }
}
