// Tests the views on a real event store: the embedded one, as a child process.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectEventStore, startEmbeddedEventStore, type EmbeddedEventStore, type EventStore } from '#event-store';
import { v1 } from '#protocol';
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';
import { fact, launched, stateAt, Story } from '../pruning-run/testing.js';
import { LiveProgress } from '../live/live-progress.js';
import { readHistory, watchHistory } from '../queries/history.js';
import { exportMetrics } from '../queries/metrics-export.js';
import { lineageOf } from '../queries/lineage.js';
import { queryMetrics } from '../queries/curves/query-metrics.js';
import { RunViews } from './run-views.js';
import { contentOf, Recorder, stepMeasured } from './testing.js';
import { watchRun } from '../queries/watch-run.js';

let folder: string;
let server: EmbeddedEventStore;
let store: EventStore;
let views: RunViews;
let live: LiveProgress;
let ids = 0;
const newId = (): string =>
  `run${String((ids += 1))
    .replace(/\d/g, (digit) => 'abcdefghij'[Number(digit)]!)
    .padStart(9, 'z')}`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'views-'));
  server = await startEmbeddedEventStore({ folder: join(folder, 'store') });
  store = connectEventStore(server);
  live = new LiveProgress();
  views = new RunViews({ store, folder, live });
  views.start();
});
afterAll(async () => {
  await views.stop();
  await store.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Appends the events that the recorder got since the last call. */
const appended = new WeakMap<Recorder, number>();
async function append(recorder: Recorder): Promise<void> {
  for (const event of recorder.events.slice(appended.get(recorder) ?? 0)) {
    await store.append(event.stream, [{ id: event.id, type: event.type, data: event.data }], 'any');
  }
  appended.set(recorder, recorder.events.length);
}
const story = (runId: string): Story => new Story(launched({ totalSteps: 100, segmentSteps: 10 }, runId));
async function collect<T>(items: AsyncIterable<T>, until: (item: T) => boolean = () => false): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) {
    all.push(item);
    if (until(item)) break;
  }
  return all;
}
const signal = (): AbortSignal => AbortSignal.timeout(280_000);
const stepsIn = (messages: v1.WatchRunResponse[]): number[] => messages.flatMap(({ steps }) => steps.map(({ step }) => Number(step)));
const watch = (runId: string, more: Partial<v1.WatchRunRequest> = {}): AsyncGenerator<v1.WatchRunResponse> =>
  watchRun(views, v1.WatchRunRequest.fromPartial({ runId, ...more }), signal());
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);

test('a run whose steps are all recorded is evaluating in its family too', async () => {
  const runId = newId();
  const told = story(runId).start();
  const recorder = new Recorder();
  const evaluating = async (step: number): Promise<boolean[]> => {
    const from = step === 90 ? 0 : told.facts.length;
    told.train(stateAt(step, 0.01));
    await append(recorder.record(runId, told.facts.slice(from)));
    const atRevision = recorder.events.filter(({ stream }) => stream.startsWith('pruningRun-')).length - 1;
    const run = await views.getRun(runId, { atRevision });
    live.heard(runId, 1); // an engine that is silent would be recovered
    expect(run.step).toBe(BigInt(step));
    return lineageOf(views, runId).tree.map((node) => node.evaluating);
  };
  expect(await evaluating(90)).toEqual([false]);
  expect(await evaluating(100)).toEqual([true]);
});

test('tells how long the run that waits longest has been queued, and nothing once it trains', async () => {
  const runId = newId();
  expect(await views.longestQueuedMs()).toBe(0);
  const told = story(runId);
  const recorder = new Recorder().record(runId, told.facts);
  await append(recorder);
  await views.getRun(runId, { atRevision: told.facts.length - 1 });
  expect(await views.longestQueuedMs()).toBeGreaterThan(0);
  const launchedOnly = told.facts.length;
  await append(recorder.record(runId, told.start().facts.slice(launchedOnly)));
  await views.getRun(runId, { atRevision: told.facts.length - 1 });
  live.heard(runId, 1);
  expect(await views.longestQueuedMs()).toBe(0);
});

test('a run is found right after it was appended, and at the revision that a command returned', async () => {
  for (let round = 0; round < 5; round += 1) {
    const runId = newId();
    const recorder = new Recorder().record(runId, story(runId).start().train(stateAt(10, 0.01)).facts);
    await append(recorder);
    const revision = recorder.events.filter(({ stream }) => stream.startsWith('pruningRun-')).length - 1;
    expect((await views.getRun(runId)).runId).toBe(runId);
    expect((await views.getRun(runId, { atRevision: revision })).step).toBe(10n);
  }
  await expect(views.getRun('aaaaaaaaaaaa')).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' });
});

test('a summary is read once until an event arrives, and then shows what the event says', async () => {
  const runId = newId();
  const told = story(runId).start();
  const recorder = new Recorder().record(runId, told.facts);
  await append(recorder);
  const before = await views.summary(runId);
  expect(views.peek(runId)).toBe(before);
  const begun = told.facts.length;
  recorder.record(runId, told.train(stateAt(10, 0.01)).facts.slice(begun));
  await append(recorder);
  const revision = recorder.events.filter(({ stream }) => stream.startsWith('pruningRun-')).length - 1;
  const after = await views.summary(runId, { atRevision: revision });
  expect([before.run.current?.step ?? 0, after.run.current?.step]).toEqual([0, 10]);
  expect(views.peek(newId())).toBeNull();
});

test('WatchRun: the run now, its steps in order and once, and an end', async () => {
  const runId = newId();
  const told = story(runId).start();
  const recorder = new Recorder().record(runId, told.facts);
  await append(recorder);
  const watching = collect(watch(runId));
  for (const step of [10, 20, 30]) {
    const from = told.facts.length;
    told.train(stateAt(step, step / 1000));
    recorder.record(runId, told.facts.slice(from));
    await append(recorder);
  }
  recorder.record(runId, [fact('RunCancelled', { step: 30, reason: 'enough' })]);
  await append(recorder);
  const messages = await watching;
  expect(stepsIn(messages)).toEqual(range(0, 30));
  expect(messages.at(-1)?.run?.status).toBe(v1.RunStatus.RUN_STATUS_CANCELLED);
  const revisions = messages.map(({ revision }) => Number(revision));
  expect(revisions).toEqual([...revisions].sort((left, right) => left - right));

  // A reader can go on from each message without missing anything or getting anything twice.
  for (const [index, { revision }] of messages.entries()) {
    expect(stepsIn(await collect(watch(runId, { afterRevision: revision })))).toEqual(stepsIn(messages.slice(index + 1)));
  }
  expect(stepsIn(await collect(watch(runId, { afterRevision: 0n })))).toEqual(range(0, 30));
  await expect(collect(watch(runId, { afterRevision: 999n }))).rejects.toMatchObject({ code: 'REVISION_NOT_FOUND' });
});

test('live steps come at once, and not again when they are recorded', async () => {
  const runId = newId();
  const told = story(runId).start();
  const recorder = new Recorder().record(runId, told.facts);
  await append(recorder);
  const messages: v1.WatchRunResponse[] = [];
  const watching = watch(runId)[Symbol.asyncIterator]();
  const next = async (): Promise<void> => void messages.push(((await watching.next()) as { value: v1.WatchRunResponse }).value);
  await next(); // the run as it is now
  live.report(
    runId,
    1,
    range(0, 7).map((step): StepMeasurement => stepMeasured(step)),
  );
  while (stepsIn(messages).length === 0) await next();
  expect(messages.at(-1)!.live).toBe(true);
  const from = told.facts.length;
  told.train(stateAt(10, 0.01));
  recorder.record(runId, told.facts.slice(from));
  await append(recorder);
  while (messages.at(-1)!.run?.step !== 10n) await next();
  await watching.return?.(undefined);
  expect(stepsIn(messages)).toEqual(range(0, 10));
  live.ended(runId);
});

test('live steps wait for those before them that are recorded but not in the views yet', async () => {
  const runId = newId();
  const told = story(runId).start();
  const recorder = new Recorder().record(runId, told.facts);
  await append(recorder);
  await views.getRun(runId, { atRevision: told.facts.length - 1 });
  const watching = collect(watch(runId), ({ steps }) => steps.some(({ step }) => step === 14n));
  await new Promise((resolve) => setTimeout(resolve, 300));
  live.report(
    runId,
    1,
    range(10, 15).map((step): StepMeasurement => stepMeasured(step)),
  );
  await new Promise((resolve) => setTimeout(resolve, 500));
  const from = told.facts.length;
  told.train(stateAt(10, 0.01));
  recorder.record(runId, told.facts.slice(from));
  await append(recorder);
  expect(stepsIn(await watching)).toEqual(range(0, 15));
  live.ended(runId);
});

test('an engine that falls silent shows within its lease, without any event', async () => {
  const runId = newId();
  const told = story(runId).start();
  const now = new Date().toISOString();
  const facts = told.facts.map((one) =>
    one.type === 'EngineAttached' ? { ...one, at: now, data: { ...one.data, leaseMs: 300 } } : { ...one, at: now },
  );
  await append(new Recorder().record(runId, facts));
  await views.getRun(runId, { atRevision: facts.length - 1 });
  const messages = await collect(watch(runId), (message) => message.run?.status === v1.RunStatus.RUN_STATUS_RESTARTING);
  expect(messages.length).toBeLessThanOrEqual(2);
});

test('50 watchers, one of them slow: every step once and in order for each, nothing queued for the slow one', async () => {
  const runId = newId();
  const told = story(runId).start();
  const recorder = new Recorder().record(runId, told.facts);
  await append(recorder);
  let slowMessages = 0;
  let over!: () => void;
  const allAppended = new Promise<void>((resolve) => {
    over = resolve;
  });
  const watchers = Array.from({ length: 50 }, async (_, index) => {
    const steps: number[] = [];
    for await (const message of watch(runId)) {
      steps.push(...message.steps.map(({ step }) => Number(step)));
      if (index === 0) {
        slowMessages += 1;
        await allAppended; // reads nothing between its first message and the end of the run
      }
    }
    return steps;
  });
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (const step of range(1, 11)) {
    const from = told.facts.length;
    told.train(stateAt(step * 10, step / 1000));
    recorder.record(runId, told.facts.slice(from));
    await append(recorder);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await append(recorder.record(runId, [fact('RunCancelled', { step: 100, reason: '' })]));
  await views.getRun(runId, { atRevision: told.facts.length });
  over();
  const all = await Promise.all(watchers);
  for (const steps of all) expect(steps).toEqual(range(0, 100));
  expect(slowMessages).toBeLessThanOrEqual(4);
});

test('rebuilding gives the same rows, while the old ones answer', async () => {
  await views.ready();
  const before = contentOf(views.database);
  const progress: v1.RebuildViewsResponse[] = [];
  for await (const message of views.rebuild(signal())) {
    progress.push(message);
    expect((await views.listRuns(v1.ListRunsRequest.fromPartial({}))).total).toBeGreaterThan(5);
  }
  expect(progress.at(-1)?.done).toBe(true);
  expect(contentOf(views.database)).toEqual(before);
  const runId = newId(); // and the views go on from there
  await append(new Recorder().record(runId, story(runId).facts));
  expect((await views.getRun(runId)).runId).toBe(runId);
});

test('ReadHistory: pages both ways, types, inherited events, abandoned and unknown ones marked', async () => {
  const parentId = newId();
  const parent = story(parentId).start().train(stateAt(10, 0.012), stateAt(20, 0.021));
  const parentFacts = parent.facts.length;
  parent.facts.push(
    fact('RunPaused', { step: 20, by: 'request' }),
    fact('RunDescribed', { name: 'renamed', addedTags: [], removedTags: [] }), // a rewind does not change a name
    fact('RunRewound', {
      toStep: 10,
      state: stateAt(10, 0.012),
      teacherMark: 1,
      abandonedFromRevision: parentFacts - 3,
      acceptOtherNumerics: false,
      targetReachedStep: null,
    }),
  );
  const recorder = new Recorder().record(parentId, parent.facts).raw(parentId, 'MoodRecorded', Buffer.from('{"v":3}'));
  const childId = newId();
  const forkData = {
    ...launched({}, childId).data,
    parentRunId: parentId,
    parentRevision: 4,
    from: stateAt(10, 0.012),
    teacherMark: 1,
    overrides: {},
    inheritedTeachers: [],
    targetReachedStep: null,
  };
  await append(recorder.record(childId, [fact('RunForked', forkData as never)]));
  const read = (more: Partial<v1.ReadHistoryRequest>): Promise<v1.ReadHistoryResponse> =>
    readHistory(views, store, v1.ReadHistoryRequest.fromPartial({ runId: parentId, pageSize: 4, ...more }));

  await views.getRun(parentId, { atRevision: parent.facts.length });
  const forwards: v1.HistoryEvent[] = [];
  for (let next: bigint | undefined = 0n; next !== undefined;) {
    const page: v1.ReadHistoryResponse = await read({ fromRevision: next });
    forwards.push(...page.events);
    next = page.nextRevision;
  }
  expect(forwards.map(({ revision }) => Number(revision))).toEqual(range(0, parent.facts.length + 1));
  expect(forwards.filter(({ abandoned }) => abandoned).map(({ revision }) => Number(revision))).toEqual(
    range(parentFacts - 3, parentFacts + 1),
  );
  expect(forwards.at(-1)).toMatchObject({ type: 'MoodRecorded', knownType: false });
  const backwards = await read({ backwards: true, pageSize: 1000 });
  expect(backwards.events.map(({ revision }) => revision)).toEqual(forwards.map(({ revision }) => revision).reverse());
  expect((await read({ types: ['TeacherSnapshotted'] })).events).toHaveLength(2);
  expect((await read({ types: ['MoodRecorded'] })).events).toHaveLength(1);
  await expect(read({ types: ['MoodRecorded', 'Nonsense'] })).rejects.toMatchObject({ code: 'FIELD_UNKNOWN_VALUE', field: 'types' });
  expect((await read({ fromRevision: BigInt(parent.facts.length + 1) })).events).toEqual([]);
  await expect(read({ fromRevision: BigInt(parent.facts.length + 2) })).rejects.toMatchObject({
    code: 'REVISION_NOT_FOUND',
    field: 'from_revision',
  });
  await expect(read({ runId: 'qqqqqq' })).rejects.toMatchObject({ code: 'RUN_NOT_FOUND', field: 'run_id' });
  const inherited = await read({ runId: childId, includeInherited: true, pageSize: 1000 });
  expect(inherited.events.map(({ runId, revision }) => [runId, Number(revision)])).toEqual([
    ...range(0, 5).map((at) => [parentId, at]),
    [childId, 0],
  ]);
  const second = await read({ runId: childId, includeInherited: true, pageSize: 2, fromRevision: 4n });
  expect(second).toMatchObject({ events: [{ runId: parentId }, { runId: childId }], nextRevision: undefined });

  const watched = await collect(
    watchHistory(views, store, v1.WatchHistoryRequest.fromPartial({ runId: parentId }), signal()),
    ({ caughtUp }) => caughtUp,
  );
  expect(watched).toHaveLength(parent.facts.length + 2);
  const typed = (runId: string, types: string[]) =>
    collect(watchHistory(views, store, v1.WatchHistoryRequest.fromPartial({ runId, types }), signal()), ({ caughtUp }) => caughtUp);
  expect((await typed(parentId, ['RunLaunched'])).map(({ event }) => event?.type)).toEqual(['RunLaunched', undefined]);
  for (const runId of [parentId, ''])
    await expect(typed(runId, ['RunLaunched', 'Nonsense'])).rejects.toMatchObject({ code: 'FIELD_UNKNOWN_VALUE', field: 'types' });
});

test('metrics: sampled with extremes kept, and whole as CSV, JSON lines and Parquet', async () => {
  const runId = newId();
  const told = new Story(launched({ totalSteps: 2000, segmentSteps: 200 }, runId))
    .start()
    .train(...range(1, 11).map((index) => stateAt(index * 200, index / 1000)));
  await append(new Recorder().record(runId, told.facts));
  await views.getRun(runId, { atRevision: told.facts.length - 1 });
  const sampled = await queryMetrics(views, v1.QueryMetricsRequest.fromPartial({ runId, maxPoints: 50 }));
  expect(sampled).toMatchObject({ totalSteps: 2000n, downsampled: true });
  expect(sampled.steps.length).toBeLessThanOrEqual(50);
  expect(sampled.steps[0]?.step).toBe(0n);
  expect(sampled.steps.at(-1)?.step).toBe(1999n);
  expect(
    (await queryMetrics(views, v1.QueryMetricsRequest.fromPartial({ runId, fromStep: 100n, toStep: 109n }))).steps.map(({ step }) =>
      Number(step),
    ),
  ).toEqual(range(100, 110));
  const file = async (format: string): Promise<Buffer> =>
    Buffer.concat(await collect(exportMetrics(views.database, runId, [], format, new Date(0))));
  const csv = (await file('csv')).toString().trimEnd().split('\n');
  expect(csv).toHaveLength(2001);
  expect(csv[0]).toContain('branch,attempt,abandoned,step,loss');
  const lines = (await file('jsonl'))
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { step: number; loss: number });
  expect(lines.map(({ step }) => step)).toEqual(range(0, 2000));
  const { parquetReadObjects } = await import('hyparquet');
  const parquet = await file('parquet');
  const rows = await parquetReadObjects({
    file: parquet.buffer.slice(parquet.byteOffset, parquet.byteOffset + parquet.byteLength) as ArrayBuffer,
  });
  expect(rows.map((row) => [Number(row['step']), row['loss'], row['lm_loss']])).toEqual(lines.map(({ step, loss }) => [step, loss, null]));
  await expect(file('xlsx')).rejects.toThrow('csv, jsonl, parquet');
});

test('the views say what the aggregate says', async () => {
  const runId = newId();
  const told = story(runId).start().train(stateAt(10, 0.012));
  const recorder = new Recorder().record(runId, told.facts);
  await append(recorder);
  const run = await views.getRun(runId, { atRevision: told.facts.length - 1 });
  expect(run).toMatchObject({
    step: BigInt(told.state.current!.step),
    teacherCount: told.state.teachers.length,
    stateDigest: told.state.current!.stateDigest,
  });
  expect(views.detail(runId)!.run.teachers).toEqual(told.state.teachers);
});
