import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import { readTable } from './read-speed-table.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-table-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const read = (speedTable: string, targetSpeedup = 1.6) => readTable({ targetSpeedup, speedTable }, {} as ModelShape);

test('what is no readable file is refused at its setting, and a FIFO holds nothing up', async () => {
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
