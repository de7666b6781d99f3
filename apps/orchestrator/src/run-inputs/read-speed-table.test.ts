import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import { readTable } from './read-speed-table.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-table-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
/** The stored artifacts by their digests. */
const kept = new Map<string, Buffer>();
const artifacts = {
  stat: async (digest: string) => (kept.has(digest) ? { bytes: kept.get(digest)!.length, mediaType: '' } : null),
  get: async (digest: string) => kept.get(digest)!,
  digestsStartingWith: async (prefix: string) => [...kept.keys()].filter((digest) => digest.startsWith(prefix)),
};
const read = (speedTable: string, targetSpeedup = 1.6) => readTable({ targetSpeedup, speedTable }, {} as ModelShape, artifacts);

test('what is not a readable file is refused at its setting, and a FIFO holds nothing up', async () => {
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  for (const path of [join(folder, 'missing'), folder, fifo, '/dev/zero'])
    await expect(read(path)).rejects.toMatchObject({
      code: 'SPEED_TABLE_INVALID',
      message: expect.stringContaining(path) as string,
      violations: [{ field: 'settings.speed_table' }],
    });
});

test('a run without a target in seconds reads no table', async () => {
  expect(await read(join(folder, 'missing'), 0)).toBeNull();
  expect(await read('none')).toBeNull();
});

test('a digest names an artifact, and one that is not a table is refused', async () => {
  const [missing, large, text] = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [string, string, string];
  kept.set(large, Buffer.alloc(2 ** 22 + 1));
  kept.set(text, Buffer.from('no table'));
  await expect(read(missing)).rejects.toMatchObject({ code: 'ARTIFACT_NOT_FOUND', violations: [{ field: 'settings.speed_table' }] });
  await expect(read(missing)).rejects.toThrow(`keeps no table with the digest ${missing}`);
  await expect(read(large)).rejects.toThrow('it has 4194305 bytes');
  await expect(read(text)).rejects.toThrow('is not JSON');
  await expect(read('cccc')).rejects.toThrow('is not JSON');
  kept.set(`cccc${'0'.repeat(60)}`, Buffer.from('no table'));
  await expect(read('cccc')).rejects.toMatchObject({ code: 'DIGEST_AMBIGUOUS', violations: [{ field: 'settings.speed_table' }] });
});
