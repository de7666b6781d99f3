// Measures the read side, by hand: node dist/apps/orchestrator/test/views-bench.js [fold] [catchup] [store] [list] [start]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { programFile } from '#files';
import { ChannelCredentials } from '@grpc/grpc-js';
import { connectEventStore, startEmbeddedEventStore, type EventStore, type StoredEvent } from '#event-store';
import { v1 } from '#protocol';
import { evolve, type PruningRunState } from '../src/pruning-run/aggregate/pruning-run.js';
import { fact, launched, sparsities, stateAt, Story } from '../src/pruning-run/testing.js';
import type { NewFact } from '../src/pruning-run/record/pruning-run.events.js';
import { decodeStored } from '../src/pruning-run/record/stored-event.js';
import { ProjectionRunner } from '../src/event-sourcing/read-models/projection-runner.js';
import { listRuns } from '../src/views/run-list.js';
import { RunProjection } from '../src/views/projection/run-projection.js';
import { Recorder, withDatabase } from '../src/views/testing.js';

const MAIN = programFile(new URL('../src/main.js', import.meta.url));
const asked = process.argv.slice(2);
const wants = (name: string): boolean => asked.length === 0 || asked.includes(name);
const seconds = (since: number): number => (performance.now() - since) / 1000;
const print = (name: string, figures: Record<string, number | string>): void => console.log(name.padEnd(10), JSON.stringify(figures));
const runIdOf = (index: number): string =>
  index
    .toString(26)
    .padStart(5, '0')
    .replace(/[0-9a-p]/g, (digit) => 'abcdefghijklmnopqrstuvwxyz'[parseInt(digit, 26)]!)
    .padStart(12, 'r');

/** The events of a long run. Each segment is its batch of metrics, SparsityAdvanced and MasksUpdated, now and then with a teacher. */
function longRun(runId: string, segments: number, stepsEach: number, ends = false): StoredEvent[] {
  const facts: NewFact[] = [...new Story(launched({ totalSteps: segments * stepsEach + 1 }, runId)).start().facts];
  for (let index = 0; index < segments; index += 1) {
    const state = stateAt((index + 1) * stepsEach, Math.min(0.5, index / segments));
    facts.push(
      fact('SparsityAdvanced', { attempt: 1, step: state.step, scheduledSparsity: 0.1, expectedSparsity: 0.1, hardSparsity: 0.1 }),
    );
    facts.push(
      fact('MasksUpdated', {
        phase: 'prune',
        attempt: 1,
        firstStep: index * stepsEach,
        state,
        loss: { mean: 1, last: 1 },
        trainingSeconds: 1,
        tokens: 1000,
        metricsRevision: 0,
        metricsDigest: '0'.repeat(64),
        openDigest: '0'.repeat(64),
      }),
    );
    if (index % Math.ceil(segments / 50) === 0)
      facts.push(
        fact('TeacherSnapshotted', {
          phase: 'prune',
          attempt: 1,
          mark: Math.floor(index / Math.ceil(segments / 50)) + 1,
          threshold: 0.01,
          state,
        }),
      );
  }
  if (ends) {
    const { step, stateDigest, hardSparsity } = stateAt(segments * stepsEach, 0.5);
    facts.push(fact('RunCompleted', { step, stateDigest, ...sparsities(hardSparsity), trainingSeconds: 1, evaluationError: null }));
  }
  return new Recorder().record(runId, facts).events;
}

function fold(): void {
  const events = longRun('aaaabbbbcccc', 50_000, 1)
    .filter(({ stream }) => stream.startsWith('pruningRun-'))
    .slice(0, 100_000);
  let started = performance.now();
  let state: PruningRunState | null = null;
  for (const event of events) state = evolve(state, decodeStored(event));
  const plain = seconds(started);
  started = performance.now();
  const { database, close } = withDatabase();
  const projection = new RunProjection(database);
  for (let at = 0; at < events.length; at += 500) projection.apply(events.slice(at, at + 500), events[at]!.position);
  print('fold', { events: events.length, aggregate_seconds: plain, projection_seconds: seconds(started), step: state!.current!.step });
  close();
}

/** Projects 1,000,000 events of 1,000 runs as the subscription would deliver them. */
function catchUp(total: number): void {
  const { database, close } = withDatabase();
  const projection = new RunProjection(database);
  let done = 0;
  let spent = 0;
  for (let run = 0; done < total; run += 1) {
    const events = longRun(runIdOf(run), 330, 10);
    const started = performance.now();
    for (let at = 0; at < events.length; at += 500) projection.apply(events.slice(at, at + 500), events[at]!.position);
    spent += seconds(started);
    done += events.length;
  }
  print('catchup', {
    events: done,
    seconds: spent,
    events_per_second: Math.round(done / spent),
    file_mb: Math.round(statSync(database.name).size / 1e6),
  });
  close();
}

/** Appends ended runs of some 1,000 events each, and returns the number of events. */
async function fill(store: EventStore, total: number): Promise<number> {
  let appended = 0;
  for (let run = 0; appended < total; run += 1) {
    const events = longRun(runIdOf(run), 330, 10, true);
    for (const prefix of ['runMetrics-', 'pruningRun-']) {
      const mine = events.filter(({ stream }) => stream.startsWith(prefix));
      for (let at = 0; at < mine.length; at += 500) {
        await store.append(
          mine[0]!.stream,
          mine.slice(at, at + 500).map(({ id, type, data }) => ({ id, type, data })),
          'any',
        );
      }
    }
    appended += events.length;
  }
  return appended;
}

/** Projects the events through the embedded event store, its protocol and the official client. */
async function throughStore(total: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'views-bench-'));
  const server = await startEmbeddedEventStore({ folder: join(folder, 'store') });
  const store = connectEventStore(server);
  await fill(store, total);
  const { database, close } = withDatabase();
  const started = performance.now();
  const runner = new ProjectionRunner(store, database, new RunProjection(database), {
    changed: () => undefined,
    firstRead: () => Promise.resolve(),
    failed: (error) => console.error(error),
    damaged: (error) => console.error(error),
  });
  runner.start();
  await runner.whenCaughtUp(55_000);
  print('store', {
    events: runner.eventsDone,
    seconds: seconds(started),
    events_per_second: Math.round(runner.eventsDone / seconds(started)),
  });
  await runner.stop();
  close();
  await store.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}

function list(count: number): void {
  const { database, close } = withDatabase();
  const projection = new RunProjection(database);
  for (let from = 0; from < count; from += 500) {
    const recorder = new Recorder();
    for (let index = from; index < from + 500; index += 1) {
      const at = new Date(Date.UTC(2026, 0, 1) + index * 60_000).toISOString();
      const facts = new Story(launched({}, runIdOf(index))).start().train(stateAt(10, (index % 500) / 1000)).facts;
      recorder.record(
        runIdOf(index),
        facts.map(
          (one) => ({ ...one, at, data: { ...one.data, ...(one.type === 'RunLaunched' ? { name: `run ${index}` } : {}) } }) as NewFact,
        ),
      );
    }
    projection.apply(recorder.events, recorder.events.at(-1)!.position);
  }
  const query = (request: Partial<v1.ListRunsRequest>): Record<string, number> => {
    const times: number[] = [];
    let total = 0;
    for (let round = 0; round < 50; round += 1) {
      const started = performance.now();
      ({ total } = listRuns(database, v1.ListRunsRequest.fromPartial(request), [], Date.now()));
      times.push(performance.now() - started);
    }
    times.sort((left, right) => left - right);
    return { p50_ms: times[25]!, p95_ms: times[47]!, total };
  };
  let deep = '';
  for (let page = 0; page < 15; page += 1)
    deep = listRuns(database, v1.ListRunsRequest.fromPartial({ pageSize: 500, pageToken: deep }), [], Date.now()).nextPageToken;
  print('list', { runs: count });
  print('  newest', query({}));
  print('  deep', query({ pageSize: 500, pageToken: deep }));
  print('  sparsity', query({ orderBy: 'sparsity desc' }));
  print('  name', query({ nameContains: 'run 99', orderBy: 'name' }));
  print('  status', query({ statuses: [v1.RunStatus.RUN_STATUS_RESTARTING] }));
  close();
}

/** Measures the time until an orchestrator is ready on a data folder of ended runs. The first start makes the views. */
async function start(total: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'views-bench-'));
  const server = await startEmbeddedEventStore({ folder: join(folder, 'event-store') });
  const store = connectEventStore(server);
  const events = await fill(store, total);
  await store.close();
  await server.stop();
  const times: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const started = performance.now();
    const child = spawn(
      process.execPath,
      [MAIN, '--data-folder', folder, '--listen', '127.0.0.1:0', '--open-loopback', '--log-level', 'error'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const lines = createInterface({ input: child.stdout });
    const [line] = (await once(lines, 'line')) as [string];
    times.push(seconds(started));
    if (round === 0) {
      const client = new v1.RunServiceClient((JSON.parse(line) as { listen: string }).listen, ChannelCredentials.createInsecure());
      for (let caughtUp = false; !caughtUp;)
        caughtUp = await new Promise<boolean>((resolve) =>
          client.listRuns(v1.ListRunsRequest.fromPartial({}), (error) => resolve(error === null)),
        );
      print('  views', { seconds_until_they_answer: seconds(started) });
      client.close();
    }
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  print('start', { events, first_seconds: times[0]!, later_seconds: times.slice(1).sort((left, right) => left - right)[1]! });
  rmSync(folder, { recursive: true, force: true });
}

if (wants('fold')) fold();
if (wants('list')) list(10_000);
if (wants('catchup')) catchUp(1_000_000);
if (wants('store')) await throughStore(100_000);
if (wants('start')) await start(1_000_000);
