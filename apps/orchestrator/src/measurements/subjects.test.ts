// Tests which state, export or error follows from a run and the names in a request.
import { spawnSync } from 'node:child_process';
import { lstat, mkdir, mkdtemp, readFile, readdir, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { ownerName } from '#files';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { clearExportFolders, jobOn, subjectOf, withExportFolder } from './subjects.js';

const exported = { exportDigest: 'abcd'.repeat(16), step: 20, stateDigest: 'e'.repeat(64), teacherMark: 3 };
const gone = { kind: 'export', digest: exported.exportDigest, marks: [], step: 20, revision: 9, reason: 'room' };
const run = (discarded: object[]): PruningRunState =>
  ({ runId: 'r', status: 'completed', exports: [exported], teachers: [], discarded }) as unknown as PruningRunState;
const asked = (exportDigest: string) => ({ intact: false, teacherMark: undefined, exportDigest });

test.each([exported.exportDigest, 'abcd'])('an export named as %s is that export', (digest) => {
  expect(subjectOf(run([]), asked(digest))).toEqual({ kind: 'export', ...exported });
});

test.each([exported.exportDigest, 'abcd'])('an export that was thrown away, named as %s, is answered with the event', (digest) => {
  expect(() => subjectOf(run([gone]), asked(digest))).toThrow(expect.objectContaining({ code: 'ARTIFACT_DISCARDED' }));
});

test('what a job on an export reads stays until its end', () => {
  const files = [{ name: 'model.gguf', bytes: 1, digest: 'f'.repeat(64) }];
  const subject = subjectOf(run([]), asked('abcd'));
  expect(jobOn(subject, { runId: 'r', exports: [{ ...exported, files }] } as never, 'a job').pinned).toEqual([
    exported.exportDigest,
    files[0]!.digest,
  ]);
});

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
    const used = await withExportFolder(artifacts, files, async (folder) => {
      const path = join(folder, 'weights/model.safetensors');
      expect(await readFile(path, 'utf8')).toBe('weights');
      expect((await lstat(path)).isSymbolicLink()).toBe(true);
      return folder;
    });
    expect(await readdir(tmpdir())).not.toContain(basename(used));
    expect(await artifacts.verify(digest)).toBe('ok');
  });

  test('is not there for a file whose bytes are not those of its digest', async () => {
    const { digest, bytes } = await artifacts.put(Buffer.from('weights'));
    await truncate(artifacts.pathOf!(digest), 3);
    const use = (): Promise<never> => Promise.reject(new Error('it was used'));
    await expect(withExportFolder(artifacts, [{ name: 'model.gguf', digest, bytes }], use)).rejects.toMatchObject({
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
