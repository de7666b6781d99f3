// Tests a fleet of this machine with the real processes: an engine comes when a run waits, and ends when no work is left. Several engines
// and their deaths are in fleets.long.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isEmpty, TestServer } from './harness/server.js';

const servers: TestServer[] = [];
const folder = mkdtempSync(join(tmpdir(), 'espalier-fleets-'));

afterAll(async () => {
  for (const server of servers) await server.dispose();
  rmSync(folder, { recursive: true, force: true });
});

async function serverWith(more = ''): Promise<TestServer> {
  const server = TestServer.inNewFolder();
  servers.push(server);
  const file = join(folder, `${servers.length}.yaml`);
  writeFileSync(file, `kind: local\nmax_engines: 2\ncpus: 1\nidle_seconds: 12\npoll_seconds: 1\n${more}`);
  server.options = ['--fleet', file];
  await server.start();
  return server;
}

it('a fleet brings an engine to a run that waits, and lets it go', async () => {
  const server = await serverWith();
  const { runId } = await server.launch({});
  await server.completed(runId);
  const { ended, problem } = await server.fleetUntil(isEmpty);
  expect(ended).toMatchObject([{ state: 'COMPLETED', joined: true }]);
  expect(problem).toBeUndefined();
  expect(await server.engines()).toEqual([]);
});

it('a fleet whose engines do not come up tries a few times, and says what the last one said where', async () => {
  const server = await serverWith("command: [/bin/sh, -c, 'exit 3']\n");
  const { runId } = await server.launch({});
  const waits = await server.until(runId, ({ waitingFor }) => /before its engine joined/.test(waitingFor?.message ?? ''));
  expect(waits.waitingFor!.message).toMatch(
    /\(FAILED, exit code 3\) before its engine joined; its output: .*local-\w+\.log; the next try is at/,
  );
  const { problem, ended } = await server.fleetUntil(({ ended: all }) => all.length >= 2);
  expect(problem!.code).toBe('FLEET_JOB_FAILED');
  expect(ended).toHaveLength(2);
});
