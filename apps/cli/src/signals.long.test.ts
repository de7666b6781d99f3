// Tests that a quickstart ends at one signal while its run trains. The bundled text is tokenized first.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readServerFile } from './connection/server-address.js';
import { runProcess } from './testing/run-cli.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'signals-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('quickstart, told to stop while the run goes on, stops the server that it started', async () => {
  let sent = false;
  const result = await runProcess(['quickstart', '--data-folder', folder], {
    onOutput: (sofar, kill) => {
      if (!sent && sofar.includes('training')) kill('SIGTERM');
      sent ||= sofar.includes('training');
    },
  });
  expect(result.exitCode).toBe(143);
  expect(result.stdout).toMatch(/the server is stopped/);
  expect(readServerFile(folder)).toBeNull();
});
