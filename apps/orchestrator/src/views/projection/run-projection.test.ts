import { EventCorruptError, type StoredEvent } from '#event-store';
import { v1 } from '#protocol';
import { AT, fact, launched, stateAt, Story } from '../../pruning-run/testing.js';
import type { NewFact } from '../../pruning-run/record/pruning-run.events.js';
import { runMessage } from '../run-message.js';
import { listRuns } from '../run-list.js';
import { requireOwnName, resolveRunId } from '../run-ids.js';
import { RunProjection } from './run-projection.js';
import type { RunSummary } from './run-detail.js';
import { readRows, stepsOf } from './metrics-reader.js';
import { contentOf, Recorder, stepMeasured, withDatabase } from '../testing.js';
import { readPosition, type ViewsDatabase } from '../../event-sourcing/read-models/views-file.js';
import { METRIC_COLUMNS } from './metrics-codec.js';
import { openViewsDatabase, viewsSchema, viewsVersion } from './views-schema.js';

const RUN = 'aaaabbbbcccc';
const nowMs = Date.parse(AT);
let database: ViewsDatabase;
let close: () => void;
beforeEach(() => {
  ({ database, close } = withDatabase());
});
afterEach(() => close());

function project(recorder: Recorder, batch = 7): void {
  const projection = new RunProjection(database);
  for (let at = 0; at < recorder.events.length; at += batch) {
    const events = recorder.events.slice(at, at + batch);
    projection.apply(events, events.at(-1)!.position);
  }
}
function summary(runId = RUN): RunSummary {
  return JSON.parse(
    (database.prepare('SELECT summary FROM run_details WHERE run_id = ?').get(runId) as { summary: string }).summary,
  ) as RunSummary;
}
const shown = (now = nowMs, heard: number | null = null): v1.Run => runMessage(summary(), heard, now);

function trained(): Story {
  return new Story(launched({ totalSteps: 100, segmentSteps: 10, targetSparsity: 0.5 }))
    .start()
    .train(stateAt(10, 0.004), stateAt(20, 0.012), stateAt(30, 0.023), stateAt(40, 0.031));
}
const request = (partial: Partial<v1.ListRunsRequest> = {}): v1.ListRunsRequest => v1.ListRunsRequest.fromPartial(partial);

test('speed and remaining time come from the steps that the engine reports until a segment is recorded', () => {
  project(new Recorder().record(RUN, new Story(launched({ totalSteps: 100, segmentSteps: 10 })).start().facts));
  const { batchSize, sequenceLength } = summary().run.settings;
  const at = (steps: number): v1.Run =>
    runMessage(
      summary(),
      nowMs,
      nowMs,
      Array.from({ length: steps }, (_, step) => ({ ...stepMeasured(step), seconds: 0.5 })),
    );
  expect(at(0)).toMatchObject({ tokensPerSecond: 0, etaSeconds: 0 });
  expect(at(4)).toMatchObject({ tokensPerSecond: 2 * batchSize * sequenceLength, etaSeconds: 50 });
  // From then on the recorded segments give the speed.
  project(new Recorder().record(RUN, trained().facts));
  expect(at(4)).toMatchObject({ tokensPerSecond: shown().tokensPerSecond, etaSeconds: shown().etaSeconds });
});

test('the steps of pruning say nothing of how long those of recovery take', () => {
  const story = new Story(launched({ recipe: 'fisher', totalSteps: 1, recoverSteps: 99, segmentSteps: 10 })).start().train(stateAt(1, 0.5));
  project(new Recorder().record(RUN, story.facts));
  expect(shown()).toMatchObject({ step: 1n, tokensPerSecond: 0, etaSeconds: 0 });
  project(new Recorder().record(RUN, story.train(stateAt(11, 0.5)).facts));
  const { seconds, steps } = summary().extras.recent[0]!;
  expect(summary().extras.recent).toHaveLength(1);
  expect(shown().etaSeconds).toBeCloseTo((89 * seconds) / steps, 6);
});

test('a training run: progress, teachers, last step, speed, chain', () => {
  project(new Recorder().record(RUN, trained().facts));
  const run = shown();
  expect(run).toMatchObject({
    runId: RUN,
    status: v1.RunStatus.RUN_STATUS_TRAINING,
    step: 40n,
    expectedSparsity: 0.031,
    teacherCount: 3,
    attempt: 1,
    tokensPerSecond: 100,
    lastStep: { step: 39n },
    revision: BigInt(trained().facts.length - 1),
    rewinds: 0,
    targetReachedStep: -1n,
  });
  expect(run.etaSeconds).toBeCloseTo(6, 6);
  expect(run.digestChain).toMatch(/^[0-9a-f]{64}$/);
  expect(run.settings?.segmentSteps).toBe(10);
});

test('the last step is that of the last recorded segment, however many were recorded together, also after a rewind', () => {
  const story = trained();
  const told = new Recorder().record(RUN, story.facts).events;
  const isMetrics = ({ stream }: StoredEvent): boolean => stream.startsWith('runMetrics-');
  const projection = new RunProjection(database);
  // The order in which segments that are recorded together arrive: all their metrics, then all their facts.
  const events = [...told.filter(isMetrics), ...told.filter((event) => !isMetrics(event))];
  const start = events.filter((event) => !isMetrics(event)).slice(0, 4); // launched, attempt, engine, teacher
  for (const event of [...start, ...events.filter((one) => !start.includes(one))]) projection.apply([event], event.position);
  expect(shown().lastStep).toMatchObject({ step: 39n, loss: stepMeasured(39).loss });
  story.facts.push(fact('RunPaused', { step: 40, by: 'request' }));
  story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
  project(new Recorder().record(RUN, story.facts));
  expect(shown()).toMatchObject({ step: 20n, lastStep: { step: 19n } });
});

test('what a run waits for: an obstacle with the command that goes on, or what passes by itself; live steps beside the recorded', () => {
  const story = trained();
  project(new Recorder().record(RUN, story.facts));
  const wait = { code: 'STORAGE_FULL', message: 'no room is left', sinceMs: nowMs };
  const live = [stepMeasured(40), stepMeasured(41)];
  const waiting = runMessage(summary(), nowMs, nowMs, live, wait);
  expect(waiting).toMatchObject({ step: 40n, liveStep: 42n, liveMetrics: { step: 41n, loss: stepMeasured(41).loss } });
  expect([waiting.etaSeconds, shown().etaSeconds > 0]).toEqual([0, true]);
  expect(waiting.waitingFor).toEqual({ code: 'STORAGE_FULL', message: 'no room is left', command: '', since: new Date(nowMs) });
  expect(shown()).toMatchObject({ liveStep: 40n, liveMetrics: undefined, waitingFor: undefined });
  story.when({ kind: 'fail', attempt: 1, code: 'NUMERICS_CHANGED', message: 'others', field: '' });
  project(new Recorder().record(RUN, story.facts));
  expect(runMessage(summary(), null, nowMs, [], wait)).toMatchObject({
    waitingFor: { code: 'NUMERICS_CHANGED', message: 'others', command: `espalier resume ${RUN} --accept-other-numerics` },
    etaSeconds: 0,
  });
});

test('status is never a lie: an expired lease shows RESTARTING unless the engine is heard', () => {
  project(new Recorder().record(RUN, trained().facts));
  const later = nowMs + 10_001;
  expect(shown(later)).toMatchObject({ status: v1.RunStatus.RUN_STATUS_RESTARTING, etaSeconds: 0 });
  expect(shown(later, later - 1000).status).toBe(v1.RunStatus.RUN_STATUS_TRAINING);
  const restarting = request({ statuses: [v1.RunStatus.RUN_STATUS_RESTARTING] });
  expect(listRuns(database, restarting, [], later).total).toBe(1);
  expect(listRuns(database, restarting, [RUN], later).total).toBe(0);
  expect(listRuns(database, restarting, [], nowMs).total).toBe(0);
});

describe('damaged events', () => {
  const facts = trained().facts;
  const events = (): StoredEvent[] => new Recorder().record(RUN, facts).events;
  const damagedAt = ({ stream, revision, position }: StoredEvent): EventCorruptError =>
    new EventCorruptError(stream, revision, position, `event ${revision} is spoiled`);
  function projectWith(isSpoiled: (event: StoredEvent) => boolean, isGone: (event: StoredEvent) => boolean = () => false): v1.Run {
    const items = events()
      .filter((event) => !isGone(event))
      .map((event) => (isSpoiled(event) ? damagedAt(event) : event));
    const projection = new RunProjection(database);
    for (const item of [...items, ...items]) projection.apply([item], item.position); // delivers each twice, as after a crash
    return shown();
  }
  const ofRun = ({ stream }: StoredEvent): boolean => stream.startsWith('pruningRun-');

  test('mark the run; everything else is shown', () => {
    const victim = facts.findIndex(({ type }) => type === 'SparsityAdvanced');
    const run = projectWith((event) => ofRun(event) && Number(event.revision) === victim);
    expect(run).toMatchObject({
      status: v1.RunStatus.RUN_STATUS_DAMAGED,
      recordedStatus: v1.RunStatus.RUN_STATUS_TRAINING,
      step: 40n,
      teacherCount: 3,
      revision: BigInt(facts.length - 1),
      damage: [{ revision: BigInt(victim), metrics: false, problem: `event ${victim} is spoiled` }],
      etaSeconds: 0,
    });
    expect(listRuns(database, request({ statuses: [v1.RunStatus.RUN_STATUS_DAMAGED] }), [], nowMs).total).toBe(1);
    expect(listRuns(database, request({ statuses: [v1.RunStatus.RUN_STATUS_TRAINING] }), [], nowMs).total).toBe(0);
  });

  test("of the run's start: it is shown without what only that said", () => {
    const run = projectWith((event) => ofRun(event) && event.revision === 0n);
    expect(run).toMatchObject({
      runId: RUN,
      status: v1.RunStatus.RUN_STATUS_DAMAGED,
      settings: undefined,
      name: '',
      step: 40n,
      launchedAt: undefined,
    });
    expect(resolveRunId(database, RUN.slice(0, 4), 'run_id')).toBe(RUN);
  });

  test('one that is missing is damage too, at the start as well', () => {
    expect(
      projectWith(
        () => false,
        (event) => ofRun(event) && event.revision === 5n,
      ).damage,
    ).toEqual([{ revision: 5n, metrics: false, problem: 'event 5 is missing' }]);
    database.exec('DELETE FROM runs_rows; DELETE FROM run_details_rows');
    expect(
      projectWith(
        () => false,
        (event) => ofRun(event) && event.revision < 2n,
      ).damage.map(({ revision }) => revision),
    ).toEqual([0n, 1n]);
  });

  test('of the metrics leave the run as it is, but for those steps', () => {
    const run = projectWith((event) => !ofRun(event) && event.revision === 1n);
    expect(run).toMatchObject({
      status: v1.RunStatus.RUN_STATUS_TRAINING,
      damage: [{ revision: 1n, metrics: true, problem: 'event 1 is spoiled' }],
    });
    expect(database.prepare('SELECT revision FROM metrics ORDER BY revision').pluck().all()).toEqual([0, 2, 3]);
  });
});

test('unknown types, other versions, broken bytes and facts without their fields break nothing', () => {
  const recorder = new Recorder()
    .record(RUN, trained().facts)
    .raw(RUN, 'SomethingNew', Buffer.from('{"v":9,"at":"x","chain":""}'))
    .raw(RUN, 'RunPaused', Buffer.from('no json'))
    .raw(RUN, 'MasksUpdated', Buffer.from('{"v":1}'));
  project(recorder);
  const run = shown();
  expect(run.step).toBe(40n);
  expect(run.revision).toBe(BigInt(trained().facts.length + 2));
  expect(Object.values(summary().extras.unknownEvents).reduce((sum, count) => sum + count, 0)).toBe(3);
});

test('building again gives the rows of building step by step, however it is cut', () => {
  const recorder = new Recorder()
    .record(RUN, trained().facts)
    .record('bbbbccccdddd', new Story(launched({}, 'bbbbccccdddd')).start().train(stateAt(10, 0.02)).facts);
  project(recorder, 1);
  const oneByOne = contentOf(database);
  for (const batch of [3, 1000]) {
    const other = withDatabase();
    const projection = new RunProjection(other.database);
    for (let at = 0; at < recorder.events.length; at += batch)
      projection.apply(recorder.events.slice(at, at + batch), recorder.events[at]!.position);
    expect(contentOf(other.database)).toEqual(oneByOne);
    other.close();
  }
  // This projection starts from the file, as after a crash, and gets some events a second time.
  const half = Math.floor(recorder.events.length / 2);
  const other = withDatabase();
  new RunProjection(other.database).apply(recorder.events.slice(0, half), recorder.events[half - 1]!.position);
  new RunProjection(other.database).apply(recorder.events.slice(half - 3), recorder.events.at(-1)!.position);
  expect(contentOf(other.database)).toEqual(oneByOne);
  expect(readPosition(other.database).position).toEqual(recorder.events.at(-1)!.position);
  other.close();
});

test('a rewind: later teachers are abandoned, steps of the old branch leave the curve', () => {
  const story = trained();
  const state = stateAt(20, 0.012);
  const rewind: NewFact = fact('RunRewound', {
    toStep: 20,
    state,
    teacherMark: 1,
    abandonedFromRevision: 8,
    acceptOtherNumerics: false,
    targetReachedStep: null,
  });
  story.facts.push(fact('RunPaused', { step: 40, by: 'request' }), rewind);
  story.start(2).train(stateAt(30, 0.02, 'again'));
  project(new Recorder().record(RUN, story.facts));
  const rows = database.prepare('SELECT mark, step, abandoned FROM teachers ORDER BY step, revision').all();
  expect(rows).toEqual([
    { mark: 1, step: 20, abandoned: 0 },
    { mark: 2, step: 30, abandoned: 1 },
    { mark: 2, step: 30, abandoned: 0 },
    { mark: 3, step: 40, abandoned: 1 },
  ]);
  const { extras } = summary();
  expect(extras.rewinds).toHaveLength(1);
  const steps = (includeAbandoned: boolean) =>
    stepsOf(readRows(database, RUN, extras.rewinds, { includeAbandoned })).map(({ step }) => step);
  expect(steps(false)).toEqual(Array.from({ length: 30 }, (_, step) => step));
  expect(steps(true)).toHaveLength(50);
  expect(shown()).toMatchObject({ step: 30n, rewinds: 1, teacherCount: 2 });
});

describe('ListRuns', () => {
  const base = Date.parse('2026-01-01T00:00:00.000Z');
  function launchMany(count: number, from = 0): Recorder {
    const recorder = new Recorder();
    for (let index = from; index < from + count; index += 1) {
      const runId = `run${index
        .toString(32)
        .padStart(4, 'a')
        .replace(
          /[0189]/g,
          'z',
        )}${'abcdefghij'[index % 10]}${'abcdefghij'[Math.floor(index / 10) % 10]}${'abcdefghij'[Math.floor(index / 100) % 10]}xx`;
      const one = launched({}, runId);
      recorder.record(runId, [
        { ...one, at: new Date(base + index * 1000).toISOString(), data: { ...one.data, name: `run ${index}` } } as NewFact,
      ]);
    }
    return recorder;
  }

  test('pages hold each run once, also when others come in between', () => {
    project(launchMany(25));
    const seen: string[] = [];
    let pageToken = '';
    for (let page = 0; ; page += 1) {
      const { runs, nextPageToken } = listRuns(database, request({ pageSize: 10, pageToken }), [], nowMs);
      seen.push(...runs.map(({ run }) => run.name));
      if (page === 0) project(launchMany(5, 100)); // newer runs
      if (nextPageToken === '') break;
      pageToken = nextPageToken;
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => `run ${24 - index}`));
  });

  test('orders, filters, totals', () => {
    project(launchMany(25));
    const names = (partial: Partial<v1.ListRunsRequest>) => listRuns(database, request(partial), [], nowMs);
    expect(names({ orderBy: 'name', pageSize: 3 }).runs.map(({ run }) => run.name)).toEqual(['run 0', 'run 1', 'run 10']);
    expect(names({ nameContains: 'RUN 2' })).toMatchObject({ total: 6 });
    expect(names({ nameContains: 'R*2' })).toMatchObject({ total: 3 }); // a pattern is of the whole name
    expect(names({ nameContains: '*_%*' })).toMatchObject({ total: 0 });
    expect(names({ modelContains: 'nowhere' })).toMatchObject({ total: 0, runs: [], nextPageToken: '' });
    expect(names({ statuses: [v1.RunStatus.RUN_STATUS_QUEUED] }).total).toBe(25);
    expect(names({ statuses: [v1.RunStatus.RUN_STATUS_FAILED] }).total).toBe(0);
  });

  test('bad requests name their field', () => {
    project(launchMany(12));
    const list = (partial: Partial<v1.ListRunsRequest>) => () => listRuns(database, request(partial), [], nowMs);
    const { nextPageToken } = list({ pageSize: 5 })();
    expect(list({ pageSize: 501 })).toThrow(expect.objectContaining({ code: 'FIELD_OUT_OF_RANGE', field: 'page_size' }));
    expect(list({ orderBy: 'colour' })).toThrow(expect.objectContaining({ code: 'FIELD_UNKNOWN_VALUE', field: 'order_by' }));
    expect(list({ statuses: [99 as v1.RunStatus] })).toThrow(expect.objectContaining({ code: 'FIELD_UNKNOWN_VALUE', field: 'statuses' }));
    expect(list({ pageToken: 'nonsense' })).toThrow(expect.objectContaining({ code: 'PAGE_TOKEN_INVALID', field: 'page_token' }));
    expect(list({ pageToken: nextPageToken, orderBy: 'name' })).toThrow(
      expect.objectContaining({ code: 'PAGE_TOKEN_INVALID', field: 'page_token' }),
    );
  });
});

test('run ids: exact, prefix, ambiguous, unknown, too short', () => {
  const recorder = new Recorder();
  for (const runId of ['aaaabbbbcccc', 'aaaabbbbdddd', 'ccccbbbbdddd']) recorder.record(runId, [launched({}, runId)]);
  project(recorder);
  const resolve = (text: string) => () => resolveRunId(database, text, 'run_id');
  expect(resolve('aaaabbbbcccc')()).toBe('aaaabbbbcccc');
  expect(resolve('cccc')()).toBe('ccccbbbbdddd');
  expect(resolve('aaaa')).toThrow(expect.objectContaining({ code: 'RUN_ID_AMBIGUOUS' }));
  expect(resolve('dddd')).toThrow(expect.objectContaining({ code: 'RUN_NOT_FOUND' }));
  expect(resolve('aaaa')).toThrow(/aaaabbbbcccc \(tiny\), aaaabbbbdddd \(tiny\); give the whole id/);
  expect(resolve('aaa')).toThrow(
    expect.objectContaining({
      code: 'RUN_NOT_FOUND',
      message: 'there is no run aaa: no run has this name, and at least 4 characters of an id are needed',
    }),
  );
  expect(resolve('')).toThrow(expect.objectContaining({ code: 'FIELD_REQUIRED', field: 'run_id' }));
});

test('run names: the id goes before the name; what could mean several runs is told', () => {
  const recorder = new Recorder();
  const named = { aaaabbbbcccc: 'first', bbbbccccdddd: 'aaaa', ccccddddeeee: 'twice', ddddeeeeffff: 'twice', eeeeffffgggg: 'aaaabbbbcccc' };
  for (const [runId, name] of Object.entries(named)) {
    const one = launched({}, runId);
    recorder.record(runId, [{ ...one, data: { ...one.data, name } } as NewFact]);
  }
  project(recorder);
  const resolve = (text: string) => () => resolveRunId(database, text, 'run_id');
  expect(resolve('first')()).toBe('aaaabbbbcccc');
  expect(resolve('aaaabbbbcccc')()).toBe('aaaabbbbcccc');
  expect(resolve('aaaa')).toThrow(/name of one run and the beginning of another run's id: bbbbccccdddd \(aaaa\), aaaabbbbcccc \(first\)/);
  expect(resolve('aaaab')()).toBe('aaaabbbbcccc');
  expect(resolve('twice')).toThrow(/several runs have the name "twice": (ccccddddeeee|ddddeeeeffff) \(twice\), /);
  expect(resolve('No such run')).toThrow(expect.objectContaining({ code: 'RUN_NOT_FOUND' }));
});

test('a name that is blank, or means another run, is refused', () => {
  project(new Recorder().record('aaaabbbbcccc', [launched({}, 'aaaabbbbcccc')]));
  const take = (name: string) => () => requireOwnName(database, name);
  for (const name of ['', 'first', 'aaa', 'aaaab c', 'AAAA', 'aaaabbbbccccd', 'bbbb']) expect(take(name)).not.toThrow();
  for (const name of ['aaaa', 'aaaabbbbcccc']) expect(take(name)).toThrow(expect.objectContaining({ code: 'RUN_NAME_INVALID' }));
  expect(take('aaaa')).toThrow(/^name: "aaaa" is the beginning of the id of run aaaabbbbcccc/);
  expect(take(' \t')).toThrow(expect.objectContaining({ code: 'RUN_NAME_INVALID', field: 'name' }));
});

test('a further figure of a step makes another schema version', () => {
  expect(viewsVersion(METRIC_COLUMNS)).toBe(viewsSchema.version);
  expect(viewsVersion([...METRIC_COLUMNS, 'anotherLoss'])).not.toBe(viewsSchema.version);
  expect(Number.isSafeInteger(viewsSchema.version)).toBe(true);
});

test('another schema version, or a damaged file, is replaced by an empty one', () => {
  const file = database.name;
  project(new Recorder().record(RUN, trained().facts));
  database.prepare('UPDATE projection_rows SET schema_version = 0').run();
  database.close();
  database = openViewsDatabase(file);
  expect(readPosition(database)).toEqual({ position: null, events: 0 });
  expect(contentOf(database)['runs']).toEqual([]);
});
