// Tests a fleet of this machine with the real processes: an engine comes when a run waits, and ends when no work is left. Several engines
// and their deaths are in fleets.long.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { codeOf, isEmpty, TestServer, unary } from './harness/server.js';

const servers: TestServer[] = [];
const folder = mkdtempSync(join(tmpdir(), 'espalier-fleets-'));

afterAll(async () => {
  for (const server of servers) await server.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const fileText = (more: string): string => `kind: local\nmax_engines: 2\ncpus: 1\nidle_seconds: 12\npoll_seconds: 1\n${more}`;
const lastFile = (): string => join(folder, `${servers.length}.yaml`);
const scale = (server: TestServer, maxEngines: number, drain = false): Promise<v1.ScaleFleetResponse> =>
  unary((done) => server.engineService.scaleFleet({ maxEngines, drain }, done));

async function serverWith(more = ''): Promise<TestServer> {
  const server = TestServer.inNewFolder();
  servers.push(server);
  writeFileSync(lastFile(), fileText(more));
  server.options = ['--fleet', lastFile()];
  await server.start();
  return server;
}

it('a fleet brings an engine to a run that waits, and lets it go', async () => {
  const server = await serverWith();
  expect((await scale(server, 0, true)).fleet).toMatchObject({ maxEngines: 0, limit: { drained: true, inPlaceOf: 2 } });
  const { runId } = await server.launch({});
  await server.until(runId, ({ waitingFor }) => /drained the fleet/.test(waitingFor?.message ?? ''));
  expect((await scale(server, 1)).fleet).toMatchObject({ maxEngines: 1, limit: { drained: false } });
  expect((await scale(server, 2)).fleet!.limit).toBeUndefined();
  await server.completed(runId);
  const { ended, problem } = await server.fleetUntil(isEmpty);
  expect(ended).toMatchObject([{ state: 'COMPLETED', joined: true }]);
  expect(problem).toBeUndefined();
  expect(await server.engines()).toEqual([]);
});

it('a fleet whose engines do not come up tries a few times, and says what the last one said where', async () => {
  const server = await serverWith("command: [/bin/sh, -c, 'echo first; echo no such model; exit 3']\n");
  const { runId } = await server.launch({});
  const waits = await server.until(runId, ({ waitingFor }) => /before its engine joined/.test(waitingFor?.message ?? ''));
  expect(waits.waitingFor!.message).toMatch(
    /\(FAILED, exit code 3\) before its engine joined; its last line: no such model; its output: .*local-\w+\.log; the next try is at/,
  );
  const { problem, ended } = await server.fleetUntil(({ ended: all }) => all.length >= 2);
  expect(problem!.code).toBe('FLEET_JOB_FAILED');
  expect(ended).toHaveLength(2);
  expect(ended).toMatchObject([{ lastLine: 'no such model' }, { lastLine: 'no such model' }]);
  // Without a run that waits the problem is over, and the next attempt is no sooner.
  await unary((done) => server.runs.cancelRun({ runId, reason: '' }, done));
  expect((await server.fleetUntil((fleet) => fleet.problem === undefined)).notBefore).toBeDefined();
});

it('a second server with the address of the first in its file finds that at its start, and asks for no job', async () => {
  const first = await serverWith();
  const second = await serverWith(`join: http://${first.listenAddress}\n`);
  const { runId } = await second.launch({});
  const waits = await second.until(runId, ({ waitingFor }) => waitingFor?.message.includes(first.listenAddress) === true);
  expect(waits.step).toBe(0n);
  const fleet = await second.fleetUntil(({ problem }) => problem !== undefined);
  expect(fleet).toMatchObject({ problem: { code: 'FLEET_ADDRESS_WRONG' }, jobs: [], ended: [] });
  await first.dispose();
  await second.dispose();
});

it('the file of a fleet is read again; with a mistake in it the settings before it hold', async () => {
  const server = await serverWith();
  await scale(server, 5);
  writeFileSync(lastFile(), fileText('').replace('max_engines: 2', 'max_engines: many'));
  const { fileProblem, maxEngines } = await server.fleetUntil((fleet) => fleet.fileProblem !== undefined);
  expect([fileProblem!.code, maxEngines]).toEqual(['CONFIG_INVALID', 5]);
  writeFileSync(lastFile(), fileText('').replace('max_engines: 2', 'max_engines: 3'));
  const fleet = await server.fleetUntil(({ fileProblem: now }) => now === undefined);
  expect([fleet.maxEngines, fleet.limit]).toEqual([3, undefined]);
});

it.each<[string, (server: TestServer) => Promise<unknown>, string]>([
  ['more engines than any fleet may have', (server) => scale(server, 65), 'FIELD_OUT_OF_RANGE'],
  ['a drain that leaves engines', (server) => scale(server, 1, true), 'FIELD_OUT_OF_RANGE'],
  [
    'a job that the fleet does not know',
    (server) => unary((done) => server.engineService.cancelFleetJobs({ ids: ['1'] }, done)),
    'FLEET_JOB_NOT_FOUND',
  ],
])('%s is refused', async (_, ask, code) => {
  expect(await ask(servers.at(-1)!).catch(codeOf)).toBe(code);
});
