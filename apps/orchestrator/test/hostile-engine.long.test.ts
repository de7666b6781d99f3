// Tests on a real server an engine that joins with a token and alters its answers, beside a good engine: each run ends in the bits that it
// has on the good one alone, and nothing that the hostile engine made up is stored.
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { v1, type engineV1 } from '#protocol';
import { HostedEngine, lying, type Lie } from '../../engine/test/hosted-engine.js';
import { isIdle, listedUntil, serverWithoutEngines, tokenIn } from './harness/joining-engine.js';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, collect, unary, type TestServer } from './harness/server.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-hostile-'));
/** A file of the server's machine that no engine may have stored. */
const secret = join(folder, 'secret');
const SECRET = 'a secret of the server';
/** The texts that the hostile engine makes up. */
const MADE_UP = ['f'.repeat(64), 'e'.repeat(64), '../../x'];
const MADE_UP_SHARE = 0.987654321;

let server: TestServer;
let joins: string[];
const engines: HostedEngine[] = [];
/** The digest of the last state that a run has on the good engine alone, and the files of its export. */
let alone: { state: string; files: string[] };

/** Few steps and snapshots, since each case trains a run. */
const SHORT = { totalSteps: 8, warmupSteps: 4, segmentSteps: 4, snapshotInterval: 0.1, evaluationTokens: 256 };
const launch = (): Promise<v1.Run> => server.launch(SHORT);
async function joined(name: string, lie?: Lie): Promise<void> {
  engines.push(new HostedEngine(joins, name, lie));
  await listedUntil(server, isIdle(name));
}
async function allLeave(): Promise<void> {
  await Promise.all(engines.splice(0).map((engine) => engine.leave()));
  await listedUntil(server, (all) => all.length === 0);
}
/** The digests of an export's files but for the README, which names the run. */
async function exportOf(runId: string): Promise<string[]> {
  const made = await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, skipProof: true })));
  const { digest } = made.at(-1)!.export!;
  const { files } = await unary<v1.StatArtifactResponse>((done) => server.artifacts.statArtifact({ digest }, done));
  return files.filter(({ name }) => name !== 'README.md').map((file) => `${file.name} ${file.digest}`);
}

beforeAll(async () => {
  writeFileSync(secret, SECRET);
  server = await serverWithoutEngines();
  const token = await tokenIn(join(folder, 'token'), server.access, v1.Role.ROLE_ENGINE, 'lab');
  joins = ['--join', server.listenAddress, '--token-file', token];
  await joined('good');
  const { runId, stateDigest } = await server.completed((await launch()).runId);
  alone = { state: stateDigest, files: await exportOf(runId) };
  await allLeave();
});
afterEach(allLeave);
afterAll(async () => {
  await HostedEngine.allEnded();
  await server.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** Waits for the run's end. It ends as on the good engine, and nothing made up is in its record or among the artifacts. */
async function expectHarmless(runId: string): Promise<void> {
  const { status, stateDigest } = await server.completed(runId);
  expect([status, stateDigest]).toEqual([v1.RunStatus.RUN_STATUS_COMPLETED, alone.state]);
  const events = await server.events(runId);
  expect(recordProblems(events)).toEqual([]);
  expect(events.map(({ type }) => type)).not.toContain('RunPaused');
  const written = events.filter(({ type }) => type !== 'EngineLost').map(({ dataJson }) => dataJson);
  expect([...MADE_UP, String(MADE_UP_SHARE)].filter((value) => written.some((text) => text.includes(value)))).toEqual([]);
  // A state may come before the report that contradicts it. It is stored under its own digest.
  const objects = join(server.dataFolder, 'artifacts', 'objects');
  const stored = (readdirSync(objects, { recursive: true }) as string[]).map((path) => join(objects, path));
  for (const path of stored.filter((one) => statSync(one).isFile())) {
    const bytes = readFileSync(path);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(basename(path));
    expect(bytes.includes(SECRET)).toBe(false);
  }
  expect(existsSync(secret)).toBe(true);
}

const inSegments = (alter: (segment: engineV1.SegmentOutcome) => unknown): Lie =>
  lying('train', ({ segments }: engineV1.TrainResponse) => segments.forEach(alter));
const flip = (bytes: Buffer): unknown => bytes.length > 0 && (bytes[bytes.length >> 1]! ^= 1);

test.each<[what: string, lie: Lie]>([
  ['the digest of the masks', inSegments(({ state }) => (state!.masksDigest = MADE_UP[0]!))],
  ['the sparsity of hard masks', inSegments(({ state }) => (state!.hardSparsity = MADE_UP_SHARE))],
  ['the expected sparsity', inSegments(({ state }) => (state!.expectedSparsity = MADE_UP_SHARE))],
  ['the count of parameters', inSegments(({ state }) => (state!.size!.parameterCount = 1n))],
  ['the open heads', inSegments(({ state }) => (state!.open[0]!.heads = 1n))],
  ['the gates', inSegments(({ state }) => flip(state!.openUnits))],
  ['the digest of a state', inSegments(({ state }) => (state!.digest = MADE_UP[1]!))],
  ['the file of a state, which is another of the machine', inSegments((segment) => (segment.stateFile = secret))],
  ['the first state', lying('initialiseState', ({ state }: engineV1.InitialiseStateResponse) => (state!.digest = MADE_UP[2]!))],
  ['the session', lying('openSession', (answer: engineV1.OpenSessionResponse) => (answer.sessionId = ''))],
])('an engine that alters %s', async (_, lie) => {
  await joined('hostile', lie);
  const { runId } = await launch();
  await server.until(runId, ({ attempt }) => attempt > 0, CLOSELY_MS);
  await joined('good'); // only now, so that the hostile engine gets the run first
  await expectHarmless(runId);
  expect((await server.events(runId)).map(({ type }) => type)).toContain('EngineLost');
});

test('an engine that leaves a question without an answer', async () => {
  await joined(
    'hostile',
    lying('planMemory', () => false),
  );
  await joined('good');
  await expectHarmless((await launch()).runId);
});

test('an engine that alters losses is found out by a sample on another engine', async () => {
  const lie = lying('train', ({ steps }: engineV1.TrainResponse) => steps.forEach((step) => (step.loss = 0.001)));
  await joined('hostile', lie);
  const { runId, engineName } = await server.completed((await launch()).runId);
  expect(engineName).toBe('hostile');
  await joined('good');
  const request = v1.VerifyRunRequest.fromPartial({ runId, replay: true, sample: 1 });
  const { summary } = (await collect(server.history.verifyRun(request))).at(-1)!;
  expect(summary).toMatchObject({ ok: false, replayEngines: [{ name: 'good', other: true }] });
});

test('an engine that joined is asked neither for the files of an export nor what a model or a state is', async () => {
  const asked: string[] = [];
  const methods = ['exportModel', 'inspectModel', 'describeState'] as const;
  await joined('hostile', () => Object.fromEntries(methods.map((method) => [method, () => asked.push(method)])));
  const { runId, stateDigest } = await server.completed((await launch()).runId);
  expect([stateDigest, await exportOf(runId)]).toEqual([alone.state, alone.files]);
  expect(asked).toEqual([]);
});
