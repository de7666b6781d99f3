// Folders of this machine in which other programs find artifacts under the names of files.
import { createWriteStream } from 'node:fs';
import { mkdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ArtifactStore, ExportManifestFile } from '#artifact-store';
import { clearUnfinishedFiles, makeFolder, pathInside, unfinishedName } from '#files';

const FOLDER = { before: 'espalier-export-', after: '.folder' };

/** Makes a folder for an export. Its maker removes it; if that process is killed, the next server does. */
export async function newExportFolder(): Promise<string> {
  const folder = join(tmpdir(), unfinishedName(FOLDER.before, FOLDER.after));
  await mkdir(folder, { mode: 0o700 });
  return folder;
}

/** Removes folders of exports that killed servers left behind. */
export function clearExportFolders(): string[] {
  return clearUnfinishedFiles(tmpdir(), { before: new RegExp(FOLDER.before), after: FOLDER.after });
}

/**
 * Gives `use` a folder with artifacts as files. Files are links to the artifacts where these are files. Each artifact is read once, to
 * check that its bytes are those of its digest.
 */
export async function withArtifactFiles<T>(
  artifacts: Pick<ArtifactStore, 'open' | 'pathOf'>,
  files: readonly Pick<ExportManifestFile, 'name' | 'digest'>[],
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await newExportFolder();
  try {
    for (const { digest, name } of files) {
      const path = pathInside(folder, name);
      makeFolder(dirname(path));
      const stored = artifacts.pathOf?.(digest);
      if (stored === undefined) {
        await pipeline(artifacts.open(digest), createWriteStream(path));
      } else {
        for await (const _ of artifacts.open(digest)); // reading to the end checks the bytes
        await symlink(stored, path);
      }
    }
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
