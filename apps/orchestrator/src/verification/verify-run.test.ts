// Tests VerifyRun without replay. A whole history passes, and one flipped byte in any event or artifact is found and named.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeExportManifest, openArtifactStore, type ArtifactStore } from '#artifact-store';
import type { EventStore, StoredEvent } from '#event-store';
import { v1 } from '#protocol';
import { data as dataIdentity, fact, launched, masked, stateAt, Story } from '../pruning-run/testing.js';
import type { NewFact, StateFact } from '../pruning-run/record/pruning-run.events.js';
import { Recorder } from '../views/testing.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import type { VerifyContext } from './verify-context.js';
import { verifyRun } from './verify-run.js';

const RUN = 'aaaabbbbcccc';
let seen: { run: { revision: number } } | null = null;
let folder: string;
let artifacts: ArtifactStore;
let events: StoredEvent[];
let digests: { state: string; manifest: string; tokens: string };

async function put(text: string): Promise<string> {
  return (await artifacts.put(Buffer.from(text))).digest;
}
async function storedState(step: number, expectedSparsity: number): Promise<StateFact> {
  return { ...stateAt(step, expectedSparsity), stateDigest: await put(`state after step ${step}`) };
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'verify-'));
  artifacts = await openArtifactStore({ folder });
  const tokens = await put('tokens');
  const launch = launched({ totalSteps: 20, segmentSteps: 10 }, RUN);
  const start = {
    ...launch,
    data: { ...launch.data, data: { ...dataIdentity, trainDigest: tokens, validationDigest: tokens } },
  } as NewFact;
  const story = new Story(start).start().train(await storedState(10, 0.012), await storedState(20, 0.02));
  const files = [{ name: 'config.json', bytes: 6, digest: tokens }];
  const manifest = (await artifacts.put(encodeExportManifest(files))).digest;
  const state = story.state.current!;
  story.facts.push(
    fact('ModelExported', {
      exportDigest: manifest,
      form: 'masked',
      made: masked,
      dtype: 'bf16',
      step: 20,
      stateDigest: state.stateDigest,
      teacherMark: null,
      parameterCount: 1,
      bytes: 6,
      files,
    }),
  );
  events = new Recorder().record(RUN, story.facts).events;
  digests = { state: state.stateDigest, manifest, tokens };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** @param later the record as it is when it is read again */
async function verify(
  history: StoredEvent[] = events,
  request: Partial<v1.VerifyRunRequest> = {},
  later: StoredEvent[] = history,
): Promise<v1.VerifyRunResponse[]> {
  const read = new Set<string>();
  const store = {
    read: (stream: string) => {
      const now = read.has(stream) ? later : history;
      read.add(stream);
      return (async function* () {
        for (const event of now) if (event.stream === stream) yield event;
      })();
    },
  } as unknown as EventStore;
  const views = { runId: (text: string) => Promise.resolve(text), peek: () => seen, database: { prepare: () => ({ all: () => [] }) } };
  const context: VerifyContext = {
    views: views as never,
    store,
    artifacts,
    borrowEngines: () => {
      throw new Error('no engine is needed here');
    },
    runs: { change: () => Promise.reject(new Error('nothing is recorded here')) },
    condition: { missing: null },
  };
  const verdicts: v1.VerifyRunResponse[] = [];
  for await (const verdict of verifyRun(
    context,
    v1.VerifyRunRequest.fromPartial({ runId: RUN, ...request }),
    BY_SERVER,
    new AbortController().signal,
  ))
    verdicts.push(verdict);
  return verdicts;
}
const problems = (verdicts: v1.VerifyRunResponse[]): v1.VerifyRunResponse[] =>
  verdicts.filter(({ ok, check }) => !ok && check !== 'summary');

test('a whole history passes every check', async () => {
  const verdicts = await verify();
  const batches = events.filter(({ type }) => type === 'StepsMeasured').length;
  expect(problems(verdicts)).toEqual([]);
  expect(verdicts.map(({ check }) => check)).toEqual(
    expect.arrayContaining(['contiguity', 'schema', 'chain', 'steps', 'metrics', 'artifacts', 'lineage']),
  );
  expect(verdicts.at(-1)).toMatchObject({
    doneShare: 1,
    summary: { ok: true, events: BigInt(events.length), metricsBatches: BigInt(batches), artifacts: 4n, problems: [] },
  });
});

// Every nineteenth byte; all of them with ESPALIER_EXHAUSTIVE=1.
test('a flipped byte of any event, its id, type and metadata included, is found and named', async () => {
  for (const [index, event] of events.entries()) {
    const where =
      event.stream === `pruningRun-${RUN}` ? `run ${RUN} revision ${event.revision}` : `metrics of run ${RUN} revision ${event.revision}`;
    const step = process.env['ESPALIER_EXHAUSTIVE'] === undefined ? 19 : 1;
    for (let at = index % step; at < event.data.byteLength; at += step) {
      const data = Buffer.from(event.data);
      data[at]! ^= 1;
      const found = problems(await verify([...events.slice(0, index), { ...event, data }, ...events.slice(index + 1)]));
      if (!found.some(({ subject }) => subject === where))
        throw new Error(`byte ${at} of ${where} (${event.type}): ${JSON.stringify(found)}`);
    }
    const changed: Partial<StoredEvent>[] = [
      { type: `${event.type.slice(0, -1)}x` },
      { id: event.id.replace(/.$/, (last) => (last === '0' ? '1' : '0')) },
      { metadata: Buffer.from('{}') },
    ];
    for (const change of changed) {
      const found = problems(await verify([...events.slice(0, index), { ...event, ...change }, ...events.slice(index + 1)]));
      expect(found.map(({ subject }) => subject)).toContain(where);
    }
  }
});

/** This store does not check its events, so only the chain can find the damage. */
test('each of several damaged events is named once, wherever the damage is, and nothing else is', async () => {
  const run = events.filter(({ stream }) => stream.startsWith('pruningRun-'));
  const damages: Record<string, (text: string) => string> = {
    'a field': (text) => text.replace(/"at":"2/, '"at":"3'),
    'the chain': (text) => text.replace(/"chain":"./, (found) => `${found.slice(0, -1)}${found.endsWith('0') ? '1' : '0'}`),
    'the form': (text) => text.replace('{', '{ '),
    'the end': (text) => text.slice(0, -1),
  };
  for (const damage of Object.values(damages)) {
    for (const places of [[0, 4], [2, 3], [1, run.length - 1], run.map((_, index) => index)]) {
      const victims = places.map((place) => run[place]!);
      const history = events.map((event) =>
        victims.includes(event) ? { ...event, data: Buffer.from(damage(Buffer.from(event.data).toString())) } : event,
      );
      const verdicts = await verify(history);
      const named = problems(verdicts)
        .filter(({ check }) => check !== 'artifacts')
        .map(({ subject }) => subject);
      expect(named).toEqual(victims.map(({ revision }) => `run ${RUN} revision ${revision}`));
      expect(verdicts.at(-1)!.detail).toBe(`${victims.length} problem${victims.length === 1 ? '' : 's'}`);
    }
  }
});

test('a missing event, an added one, and two that changed places are found', async () => {
  const run = events.filter(({ stream }) => stream.startsWith('pruningRun-'));
  for (const at of [1, 3, run.length - 2]) {
    expect(problems(await verify(events.filter((event) => event !== run[at]))).length).toBeGreaterThan(0);
    const twice = [...run.slice(0, at), run[at]!, ...run.slice(at)].map((event, revision) => ({ ...event, revision: BigInt(revision) }));
    expect(problems(await verify([...events.filter(({ stream }) => stream.startsWith('runMetrics-')), ...twice])).length).toBeGreaterThan(
      0,
    );
    const swapped = run
      .map((event, index) => (index === at ? run[at + 1]! : index === at + 1 ? run[at]! : event))
      .map((event, revision) => ({ ...event, revision: BigInt(revision) }));
    expect(problems(await verify([...events.filter(({ stream }) => stream.startsWith('runMetrics-')), ...swapped])).length).toBeGreaterThan(
      0,
    );
  }
});

test('an end that was cut off is found by what the views have seen', async () => {
  const run = events.filter(({ stream }) => stream.startsWith('pruningRun-'));
  seen = { run: { revision: run.length - 1 } };
  expect(problems(await verify())).toEqual([]);
  const found = problems(await verify(events.filter((event) => event !== run.at(-1))));
  expect(found.map(({ check, subject }) => [check, subject])).toContainEqual(['contiguity', `run ${RUN} revision ${run.length - 1}`]);
  seen = null;
});

test('a state that the run left behind while it was verified is not missed; one that it still needs is', async () => {
  const tokens = digests.tokens;
  const launch = launched({ totalSteps: 30, segmentSteps: 10 }, RUN);
  const start = {
    ...launch,
    data: { ...launch.data, data: { ...dataIdentity, trainDigest: tokens, validationDigest: tokens } },
  } as NewFact;
  const first = await storedState(10, 0.001);
  const others = [await storedState(20, 0.002), await storedState(30, 0.003)];
  const whole = new Recorder().record(RUN, new Story(start).start().train(first, ...others).facts).events;
  const begun = whole.slice(0, whole.findIndex(({ type }) => type === 'MasksUpdated') + 1);
  await rm(artifacts.pathOf!(first.stateDigest));
  expect(problems(await verify(begun, {}, whole))).toEqual([]);
  expect(problems(await verify(begun)).map(({ subject }) => subject)).toEqual([`artifact ${first.stateDigest}`]);
  seen = { run: { revision: begun.length } }; // the views were ahead before the record was read
  expect(problems(await verify(begun)).map(({ check }) => check)).toContain('contiguity');
  seen = null;
});

test('a damaged or missing artifact is named by its digest', async () => {
  for (const digest of Object.values(digests)) {
    const path = artifacts.pathOf!(digest);
    const whole = await readFile(path);
    for (let at = 0; at < whole.byteLength; at += 1) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1;
      await writeFile(path, damaged);
      expect(problems(await verify()).map(({ subject }) => subject)).toContain(`artifact ${digest}`);
    }
    await rm(path);
    expect(problems(await verify())).toContainEqual(
      expect.objectContaining({
        check: 'artifacts',
        subject: `artifact ${digest}`,
        detail: expect.stringContaining('not in the store') as string,
      }),
    );
    await writeFile(path, whole);
  }
});

test('an event of an unknown type is not a problem, and is said', async () => {
  const recorder = new Recorder().record(RUN, []);
  const run = events.filter(({ stream }) => stream.startsWith('pruningRun-'));
  const { chain } = JSON.parse(Buffer.from(run.at(-1)!.data).toString()) as { chain: string };
  const { chainAfter, canonicalJson } = await import('#audit');
  const fields = { at: '2026-01-02T03:04:05.678Z', v: 7, mood: 'good' };
  const data = Buffer.from(canonicalJson({ ...fields, chain: chainAfter(chain, { id: 'some-id', type: 'MoodRecorded' }, fields) }));
  recorder.raw(RUN, 'MoodRecorded', data);
  const strange = { ...recorder.events[0]!, id: 'some-id', revision: run.at(-1)!.revision + 1n };
  const verdicts = await verify([...events, strange]);
  expect(problems(verdicts)).toEqual([]);
  expect(verdicts.find(({ check }) => check === 'schema')?.detail).toContain('1 MoodRecorded');
});

test('a bad tolerance names its field', async () => {
  await expect(verify(events, { replay: true, tolerance: -1 })).rejects.toMatchObject({ code: 'FIELD_OUT_OF_RANGE', field: 'tolerance' });
  await expect(verify(events, { tolerance: 0.1 })).rejects.toMatchObject({ code: 'REQUEST_INVALID', field: 'tolerance' });
  await expect(verify(events, { replay: true, fromStep: -1n })).rejects.toMatchObject({ code: 'FIELD_OUT_OF_RANGE', field: 'from_step' });
});
