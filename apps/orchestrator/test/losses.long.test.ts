// Tests an event store that was replaced by that of another folder, by an empty or an older one, or that lost its last events. The server
// must report it and must not remove anything because of it.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, truncateSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { backupEmbeddedEventStore, embeddedEventStoreStats, restoreEmbeddedEventStore, startEmbeddedEventStore } from '#event-store';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { codeOf, collect, ENDLESS, TestServer, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
const inData = (...names: string[]): string => join(server.dataFolder, ...names);
const store = inData('event-store');
const objects = inData('artifacts/objects');
const incoming = inData('artifacts/incoming');
let first: v1.Run;

const states = (): string[] =>
  readdirSync(objects, { recursive: true })
    .map(String)
    .filter((name) => /[0-9a-f]{64}$/.test(name))
    .sort();
const condition = (): Promise<v1.GetStoreConditionResponse> => unary((done) => server.history.getStoreCondition({}, done));
const problems = async (): Promise<string[]> => (await collect(server.history.verifyAll({}))).at(-1)!.summary!.problems;
const tag = (runId: string, name: string): Promise<v1.DescribeRunResponse> =>
  unary((done) => server.runs.describeRun(v1.DescribeRunRequest.fromPartial({ runId, addTags: [name] }), done));
const collectGarbage = (request: Partial<v1.CollectGarbageRequest>): Promise<v1.CollectGarbageResponse[]> =>
  collect(server.artifacts.collectGarbage(v1.CollectGarbageRequest.fromPartial(request)));
const refused = (work: Promise<unknown>): Promise<string> => work.then(() => 'done', codeOf);

async function killed(): Promise<void> {
  await server.kill('store', 'engine');
  expect(await server.orphansGone()).toBe(true);
}

/** Expects that the server reports missing events wherever it is asked, and removes nothing. */
async function saysThatEventsAreMissing(): Promise<void> {
  const before = states();
  const { missingEvents } = await condition();
  const message = /^events are missing: the data folder has seen position \d+ \(revision \d+ of stream \S+\), the event store ends at \d+/;
  expect(missingEvents!.message).toMatch(message);
  expect(server.logTail()).toMatch(/events are missing: .*nothing is thrown away/);
  expect(await problems()).toContainEqual(expect.stringMatching(/^store: the event store: events are missing/));
  expect(await refused(collectGarbage({ minAgeSeconds: 0, now: true }))).toBe('EVENTS_MISSING');
  expect(await refused(unary((done) => server.runs.deleteRun({ runId: first.runId, reason: '' }, done)))).toBe('EVENTS_MISSING');
  expect(states()).toEqual(before);
}

async function isWhole(): Promise<void> {
  expect(await condition()).toMatchObject({ missingEvents: undefined, availableBytes: expect.any(BigInt) as bigint });
  expect(await problems()).toEqual([]);
}

beforeAll(async () => {
  await server.start();
  first = await server.completed((await server.launch({}, { name: 'first' })).runId);
  await server.stop();
});
afterAll(() => server.dispose());

test('another event store is refused, and nothing goes', async () => {
  const before = states();
  const folder = mkdtempSync(join(tmpdir(), 'espalier-other-store-'));
  const other = await startEmbeddedEventStore({ folder });
  try {
    const onOther = new TestServer(server.dataFolder, { ESPALIER_EVENT_STORE: other.connectionString });
    await expect(onOther.start()).rejects.toThrow(/serves event store .* --accept-store .*ARTIFACTS_OF_ANOTHER_STORE/);
    const named = TestServer.inNewFolder({ ESPALIER_EVENT_STORE: other.connectionString });
    await named.start();
    await named.dispose();
    await expect(onOther.start()).rejects.toThrow('ARTIFACTS_OF_ANOTHER_STORE');
  } finally {
    await other.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  expect(states()).toEqual(before);
  await server.start();
  await isWhole();
  await server.stop();
});

test("the store's folder that is away is missed, and no empty store is made in its place; put back, all is there", async () => {
  const before = states();
  renameSync(store, inData('away'));
  await expect(server.start()).rejects.toThrow(/events are missing.*holds no event store.*EVENTS_MISSING/);
  expect(existsSync(store)).toBe(false);
  // The loss is noticed without the file of views, too.
  for (const suffix of ['', '-wal', '-shm']) rmSync(inData(`views.sqlite${suffix}`), { force: true });
  await expect(server.start()).rejects.toThrow(/holds no event store: the data folder has seen position \d+;.*EVENTS_MISSING/);
  const empty = await startEmbeddedEventStore({ folder: store });
  await empty.stop();
  await expect(server.start()).rejects.toThrow(/events are missing: the data folder has seen position \d+, the event store ends at \d+;/);
  rmSync(store, { recursive: true });
  renameSync(inData('away'), store);
  await server.start();
  await isWhole();
  expect(states()).toEqual(before);
  await server.stop();
});

test('an older backup is told until it is accepted; what no event names is set aside, and comes back with the newer store', async () => {
  const backup = inData('backup.db');
  await backupEmbeddedEventStore({ folder: store, file: backup });
  await server.start();
  const second = await server.completed((await server.launch({ seed: 9n }, { name: 'second' })).runId);
  await server.stop();
  const before = states();
  cpSync(store, inData('newer'), { recursive: true });
  const { previousStoreFolder } = restoreEmbeddedEventStore({ folder: store, file: backup, overwrite: true });
  expect(previousStoreFolder).toBeDefined();
  for (const start of [1, 2]) {
    await server.start();
    await saysThatEventsAreMissing();
    if (start === 1) await killed();
    else await server.stop();
  }
  expect(states()).toEqual(before);

  server.options = ['--accept-store'];
  await server.start();
  server.options = [];
  await isWhole();
  expect(states()).toEqual(before); // the states are too young to be set aside
  const long = new Date(Date.now() - 2 * 86_400_000);
  for (const name of before) utimesSync(join(objects, name), long, long);
  await server.stop();
  await server.start(); // the acceptance lasts
  await isWhole();
  const left = states();
  expect(left.length).toBeLessThan(before.length);
  for (const digest of before.filter((name) => !left.includes(name))) expect(server.log).toContain(digest.slice(-64));
  await server.stop();

  rmSync(store, { recursive: true });
  renameSync(inData('newer'), store);
  await server.start();
  await isWhole();
  expect(states()).toEqual(before);
  expect(await server.run(second.runId)).toMatchObject({ stateDigest: second.stateDigest });
  await server.stop();
});

test('a log that was cut by a byte, or removed, is told although every append had been answered', async () => {
  const whole = inData('whole');
  const putBack = (): void => {
    rmSync(store, { recursive: true });
    cpSync(whole, store, { recursive: true });
  };
  const endOf = (folder: string): number => embeddedEventStoreStats({ folder }).endPosition;
  const tags: string[] = [];
  for (let isCut = false; !isCut;) {
    await server.start();
    for (let count = 0; count < 5; count += 1) {
      tags.push(`tag-${tags.length}`);
      await tag(first.runId, tags.at(-1)!);
    }
    await killed();
    rmSync(whole, { recursive: true, force: true });
    cpSync(store, whole, { recursive: true });
    const log = join(store, 'events.db-wal');
    truncateSync(log, statSync(log).size - 1);
    isCut = endOf(store) < endOf(whole);
    if (isCut) continue;
    putBack(); // the log was checkpointed just then, so this tries again with an empty one
    await server.start();
    await server.stop();
  }
  await server.start();
  await saysThatEventsAreMissing();
  expect((await server.run(first.runId)).tags).toEqual(tags.slice(0, -1).sort());
  await killed();

  putBack();
  for (const suffix of ['-wal', '-shm']) rmSync(join(store, `events.db${suffix}`));
  await server.start();
  await saysThatEventsAreMissing();
  expect((await server.run(first.runId)).stateDigest).toBe(first.stateDigest);
  await killed();

  putBack();
  await server.start();
  await isWhole();
  expect((await server.run(first.runId)).tags).toEqual([...tags].sort());
  await server.stop();
});

test('a folder without a name is bound to the store that it agrees with, and to no other', async () => {
  const asBefore = (): void => {
    rmSync(inData('artifacts/event-store.id'), { force: true });
    rmSync(inData('seen-events'), { recursive: true, force: true });
  };
  const withoutViews = (): void => {
    for (const suffix of ['', '-wal', '-shm']) rmSync(inData(`views.sqlite${suffix}`), { force: true });
  };
  asBefore();
  await server.start();
  await isWhole();
  await server.stop();
  expect(existsSync(inData('artifacts/event-store.id'))).toBe(true);
  asBefore();
  withoutViews();
  await server.start(); // the artifacts of this store are those that its events name
  await isWhole();
  await server.stop();

  asBefore();
  cpSync(store, inData('newest'), { recursive: true });
  restoreEmbeddedEventStore({ folder: store, file: inData('backup.db'), overwrite: true });
  await expect(server.start()).rejects.toThrow('EVENTS_MISSING');
  rmSync(store, { recursive: true });
  withoutViews();
  await expect(server.start()).rejects.toThrow(/no event of the event store names any of them.*ARTIFACTS_OF_ANOTHER_STORE/);
  rmSync(store, { recursive: true });
  renameSync(inData('newest'), store);
  await server.start();
  await isWhole();
  await server.stop();
});

test('files on their way into the store are counted, and go with the attempt that they belong to', async () => {
  await server.start();
  const left = async (): Promise<bigint> =>
    unary<v1.GetDiskUsageResponse>((done) => server.artifacts.getDiskUsage({}, done)).then(({ incomingBytes }) => incomingBytes);
  for (const end of ['cancel', 'kill'] as const) {
    const { runId } = await server.launch({ ...ENDLESS, segmentSteps: 2 });
    await server.until(runId, ({ step }) => step >= 20n);
    if (end === 'kill') {
      await killed();
      mkdirSync(incoming, { recursive: true });
      cpSync(join(objects, states()[0]!), join(incoming, '0b6e7c9e-2f0c-4e5e-9a51-0d8f4c6b7a10-22'));
      utimesSync(join(incoming, '0b6e7c9e-2f0c-4e5e-9a51-0d8f4c6b7a10-22'), 0, 0);
      await server.start();
      await server.until(runId, ({ attempt }) => attempt > 1);
    }
    await unary<v1.CancelRunResponse>((done) => server.runs.cancelRun({ runId, reason: '' }, done));
    await server.until(runId, ({ status }) => status === v1.RunStatus.RUN_STATUS_CANCELLED);
    while ((await left()) > 0n || readdirSync(incoming).length > 0) await sleep(50);
  }
  await isWhole();
});

test('a backup from the midst of a run is restored into another folder: nothing is lost, and the run ends in the same bits', async () => {
  const restored = TestServer.inNewFolder();
  try {
    const { runId } = await server.launch({ totalSteps: 240 });
    await server.until(runId, ({ step }) => step >= 20n);
    const seen = await server.events(runId);
    // The events first: the artifacts that they name are there already.
    await backupEmbeddedEventStore({ folder: store, file: inData('drill.db') });
    const isWhole = (path: string): boolean => !path.startsWith(incoming);
    cpSync(inData('artifacts'), join(restored.dataFolder, 'artifacts'), { recursive: true, filter: isWhole });
    const ended = await server.completed(runId);

    restoreEmbeddedEventStore({ folder: join(restored.dataFolder, 'event-store'), file: inData('drill.db') });
    await restored.start();
    expect(await restored.run(first.runId)).toMatchObject({ stateDigest: first.stateDigest, name: 'first' });
    expect((await restored.completed(runId)).stateDigest).toBe(ended.stateDigest);
    expect(recordProblems(await restored.events(runId), seen)).toEqual([]);
    const told = await collect(restored.history.verifyAll({}));
    expect(told.at(-1)!.summary!.problems).toEqual([]);
  } finally {
    await restored.dispose();
  }
});
