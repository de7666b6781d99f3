// Tests that a cut shorter than the lease uses no attempt up: a joined engine is cut off for a second, in each kind of work in turn.
// Cuts in a training are in joined-engines.long.test.ts.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import { isIdle, JoiningEngine, listedUntil, serverWithoutEngines, tokenFilesIn, Way } from './harness/joining-engine.js';
import { recordProblems } from './harness/record-checks.js';
import { collect, CORPUS, FACTBOOK_VALIDATION, TINY_MODEL, type TestServer } from './harness/server.js';

const CUT_MS = 1_000;
/** Long, so that no load of the machine makes a cut longer than the lease. */
const LEASE_SECONDS = 60;
const WITHIN_MS = 150_000;
/** The model by a path that the engine, which is started elsewhere, does not find. */
const SEEN_HERE = TINY_MODEL.replace(process.cwd(), '/proc/self/cwd');
/** In bytes a second, slow enough that a cut comes in the middle of what is sent. */
const SLOW = 100_000;
const folder = mkdtempSync(join(tmpdir(), 'espalier-cuts-'));
let server: TestServer;
let way: Way;
/** The run that the tests disturb, one after another. */
let run: string;

beforeAll(async () => {
  server = await serverWithoutEngines('127.0.0.1', [], LEASE_SECONDS);
  way = await Way.to(server.listenAddress);
  const token = await tokenFilesIn(folder)(server.access, v1.Role.ROLE_ENGINE, 'lab');
  const cache = ['--model-cache', join(folder, 'models')];
  new JoiningEngine(['--join', way.address, '--token-file', token, '--name', 'one', ...cache], { cwd: folder });
  await listedUntil(server, isIdle('one'));
});
afterAll(async () => {
  await JoiningEngine.endAll();
  Way.closeAll();
  await server.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** Cuts the engine off when it begins the work, and brings it back. */
async function cutOffIn(work: string): Promise<void> {
  await listedUntil(server, ([one]) => one!.doing.includes(work));
  await cutOff();
}

async function cutOff(): Promise<void> {
  way.cut();
  await sleep(CUT_MS);
  way.mend();
  way.bytesPerSecond = Infinity;
}

test('in the preparation of a run, while the engine gets its model', async () => {
  way.bytesPerSecond = SLOW;
  const data = { trainPath: CORPUS, validationPath: FACTBOOK_VALIDATION };
  const { runId } = await server.launch({ totalSteps: 20, warmupSteps: 10 }, { modelPath: SEEN_HERE, data });
  await listedUntil(server, ([one]) => one!.joined!.modelBytesHere > 0n);
  await cutOff();
  await server.until(runId, ({ status }) => status !== v1.RunStatus.RUN_STATUS_PREPARING, 50, WITHIN_MS);
  expect(server.log).not.toContain('a run could not be prepared');
  run = runId;
});

test('in the evaluations at its end', async () => {
  await cutOffIn('the evaluation at the end');
  const { attempt } = await server.completed(run, WITHIN_MS);
  expect(attempt).toBe(1);
  expect(recordProblems(await server.events(run))).toEqual([]);
});

test('in an export', async () => {
  way.bytesPerSecond = SLOW;
  const exported = collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId: run, skipProof: true })));
  await cutOffIn('an export of run');
  expect((await exported).at(-1)!.export).toMatchObject({ format: 'hf-remote' });
});

test('in texts, of which each part is told once', async () => {
  const request = v1.GenerateRequest.fromPartial({ runId: run, prompts: ['The capital of'], maxTokens: 200 });
  const texts = async (): Promise<string> =>
    (await collect(server.runs.generate(request))).flatMap(({ pieces }) => pieces.map(({ text }) => text)).join('');
  const undisturbed = await texts();
  way.bytesPerSecond = SLOW;
  const disturbed = texts();
  await cutOffIn('texts of run');
  expect(await disturbed).toBe(undisturbed);
});
