// The check of a card, with programs that were built elsewhere, on a machine without a card.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CHECK = fileURLToPath(new URL('../../native-engine/tools/gpu_check.sh', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-gpu-check-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('where no card can be used, the verdict says that nothing was checked, and why', () => {
  writeFileSync(join(folder, 'prebuilt.txt'), 'commit of a test\n');
  // The program that lists devices, as it answers without a driver.
  writeFileSync(join(folder, 'list_devices'), `#!/bin/sh\necho '{"name":"cuda","problem":"no NVIDIA driver is loaded"}'\n`, {
    mode: 0o755,
  });
  const said = execFileSync('bash', [CHECK, '--build', folder, '--out', join(folder, 'out'), 'build', 'device', 'step'], {
    encoding: 'utf8',
  });
  expect(said).toMatch(/build +passed/);
  expect(said).toMatch(/step +skipped .*no card can be used: no NVIDIA driver is loaded/);
  const verdict = 'Nothing was checked: no card can be used: no NVIDIA driver is loaded.';
  expect(said.split('\n')).toContain(verdict);
  expect(readFileSync(join(folder, 'out/report.txt'), 'utf8').split('\n')[0]).toBe(verdict);
});
