// Tests that a run written as a file launches the same run again: its state has the same bits.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { programFile } from '#files';
import type { v1 } from '#protocol';
import { TestServer } from './harness/server.js';

const CLI = programFile(new URL('../../cli/src/main.js', import.meta.url));
const server = TestServer.inNewFolder();
beforeAll(() => server.start());
afterAll(() => server.dispose());

async function espalier(...args: string[]): Promise<string> {
  const env = { ...process.env, ESPALIER_SERVER: server.listenAddress, ESPALIER_TOKEN: server.token ?? '' };
  return (await promisify(execFile)(process.execPath, [CLI, ...args], { env })).stdout;
}

it('with settings that no preset has, a name that YAML must quote, and a seed beyond what numbers hold', async () => {
  const odd = { temperature: 0.7, seed: 12_345_678_901_234_567_890n, maskLearningRate: 0.123_456_789, loraTargets: ['q_proj', 'up_proj'] };
  const labels = { name: 'yes: "no" # maybe', tags: ['7b', 'null'], note: '- it is: a note' };
  const first = await server.completed((await server.launch({ totalSteps: 40, ...odd }, labels)).runId);
  const file = join(server.dataFolder, 'again.yaml');
  writeFileSync(file, await espalier('show', first.runId, '--yaml'));
  const { run_id: runId } = JSON.parse(await espalier('launch', '--config', file, '--json')) as { run_id: string };
  const again = await server.completed(runId);
  const asked = ({ settings, data, name, tags, note, modelPath }: v1.Run): object => ({ settings, data, name, tags, note, modelPath });
  expect(again.runId).not.toBe(first.runId);
  expect(asked(again)).toEqual(asked(first));
  expect(again.stateDigest).toBe(first.stateDigest);
});
