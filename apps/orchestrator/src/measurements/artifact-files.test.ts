// Tests the folders in which other programs find artifacts.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readFile, readdir, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { ownerName } from '#files';
import { clearExportFolders, withArtifactFiles } from './artifact-files.js';

describe('the folder of an export', () => {
  let place: string;
  let artifacts: ArtifactStore;
  beforeEach(async () => {
    place = await mkdtemp(join(tmpdir(), 'subjects-'));
    artifacts = await openArtifactStore({ folder: place });
  });
  afterEach(() => rm(place, { recursive: true, force: true }));

  test('consists of links, so that nothing large is left of it, and goes when it was used', async () => {
    const { digest, bytes } = await artifacts.put(Buffer.from('weights'));
    const files = [{ name: 'weights/model.safetensors', digest, bytes }];
    const used = await withArtifactFiles(artifacts, files, async (folder) => {
      const path = join(folder, 'weights/model.safetensors');
      expect(await readFile(path, 'utf8')).toBe('weights');
      expect((await lstat(path)).isSymbolicLink()).toBe(true);
      return folder;
    });
    expect(await readdir(tmpdir())).not.toContain(basename(used));
    expect(await artifacts.verify(digest)).toBe('ok');
  });

  test('has no file outside it, whatever name a message gave', async () => {
    const { digest } = await artifacts.put(Buffer.from('weights'));
    const outside = join(place, 'outside');
    const name = `../../../../../../../../..${outside}`;
    const use = (): Promise<never> => Promise.reject(new Error('it was used'));
    await expect(withArtifactFiles(artifacts, [{ name, digest }], use)).rejects.toThrow('is not a plain name inside a folder');
    expect(existsSync(outside)).toBe(false);
  });

  test('is not there for a file whose bytes are not those of its digest', async () => {
    const { digest } = await artifacts.put(Buffer.from('weights'));
    await truncate(artifacts.pathOf!(digest), 3);
    const use = (): Promise<never> => Promise.reject(new Error('it was used'));
    await expect(withArtifactFiles(artifacts, [{ name: 'model.gguf', digest }], use)).rejects.toMatchObject({
      code: 'ARTIFACT_CORRUPT',
    });
  });

  test('goes at the next start where the server that made it was killed', async () => {
    const { pid, stdout } = spawnSync('sh', ['-c', 'cut -d" " -f22 /proc/$$/stat'], { encoding: 'utf8' });
    const dead = join(tmpdir(), `espalier-export-${ownerName()!.split('-').slice(0, 3).join('-')}-${pid}-${stdout.trim()}.0a1b2c3d.folder`);
    const living = join(tmpdir(), `espalier-export-${ownerName()}.0a1b2c3d.folder`);
    for (const folder of [dead, living]) await mkdir(folder);
    try {
      expect(clearExportFolders()).toContain(dead);
      expect(await readdir(tmpdir())).toContain(basename(living));
    } finally {
      for (const folder of [dead, living]) await rm(folder, { recursive: true, force: true });
    }
  });
});
