// Tests VerifyAll over many runs. It must keep reporting its progress, and must not wait for the store run by run.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { openArtifactStore } from '#artifact-store';
import type { StoredEvent } from '#event-store';
import type { v1 } from '#protocol';
import { launched, Story } from '../pruning-run/testing.js';
import { Recorder } from '../views/testing.js';
import { verifyAll } from './verify-all.js';

const RUNS = Array.from({ length: 12 }, (_, index) => `aaaabbbbccc${'abcdefghijkl'[index]!}`);
const FOREIGN = 2_500;

function speedTable(): string {
  const times = [{ width: 1, seconds: 1, spread: 0 }];
  const fixed = [{ seconds: 1, spread: 0 }];
  return JSON.stringify({
    ...{ schema: 'espalier-speed-table', version: 1, device: 'made by hand', dtype: 'bf16', batch: 1, context: 2048, phase: 'decode' },
    model: { layers: 1, heads: 1, kv_heads: 1, head_dim: 8, units: 1, hidden_size: 8, vocabulary_size: 8 },
    ...{ by_heads: { q: times, attention: times, o: times }, by_kv_heads: { kv: times }, by_units: { gate_up: times, down: times } },
    ...{ layer: { attention: fixed, mlp: fixed }, fixed },
  });
}

function recorded(): StoredEvent[] {
  const events = RUNS.flatMap((runId) => new Recorder().record(runId, new Story(launched({}, runId)).start().facts).events);
  const foreign = Array.from({ length: FOREIGN }, (_, revision) => ({ ...events[0]!, stream: 'foreign', revision: BigInt(revision) }));
  return [...foreign, ...events].map((event, at) => ({ ...event, position: { commit: BigInt(at + 1), prepare: BigInt(at + 1) } }));
}

test('views that can not be read are told as a problem, and events and artifacts are checked all the same', async () => {
  const events = recorded();
  const folder = await mkdtemp(join(tmpdir(), 'verify-all-'));
  const artifacts = await openArtifactStore({ folder });
  await artifacts.put(Buffer.from(speedTable()));
  const rows = { pluck: () => rows, all: () => [] };
  const views = {
    problemInFile: () => Promise.reject(new Error('views.sqlite is locked')),
    peek: () => null,
    database: { prepare: () => rows },
  };
  const store = {
    async *readAll({ direction = 'forwards' }: { direction?: string }): AsyncGenerator<StoredEvent> {
      await turn();
      yield* direction === 'forwards' ? events : [events.at(-1)!];
    },
    async *read(stream: string): AsyncGenerator<StoredEvent> {
      await turn();
      yield* events.filter((event) => event.stream === stream);
    },
  };
  const told: v1.VerifyAllResponse[] = [];
  const context = { store, views, artifacts, condition: { missing: null } };
  for await (const response of verifyAll(context as never, new AbortController().signal)) told.push(response);
  await rm(folder, { recursive: true });
  const { summary } = told.at(-1)!;
  expect(summary).toMatchObject({ ok: false, runs: BigInt(RUNS.length), events: BigInt(events.length), artifacts: 1n });
  expect(summary!.problems).toContain('views: the file of read models: it could not be checked: views.sqlite is locked');
});

test('progress is told, runs are read beside each other, their verdicts come in order, and an artifact is called what it is', async () => {
  const events = recorded();
  let [open, mostOpen] = [0, 0];
  const store = {
    async *readAll({ direction = 'forwards' }: { direction?: string }): AsyncGenerator<StoredEvent> {
      await turn();
      yield* direction === 'forwards' ? events : [events.at(-1)!];
    },
    async *read(stream: string): AsyncGenerator<StoredEvent> {
      mostOpen = Math.max(mostOpen, (open += 1));
      await turn();
      yield* events.filter((event) => event.stream === stream);
      open -= 1;
    },
  };
  const rows = { pluck: () => rows, all: () => [] };
  const views = {
    problemInFile: () => Promise.resolve(null),
    ready: () => Promise.resolve(),
    peek: () => null,
    database: { prepare: () => rows },
  };
  const folder = await mkdtemp(join(tmpdir(), 'verify-all-'));
  const artifacts = await openArtifactStore({ folder });
  const { digest: table } = await artifacts.put(Buffer.from(speedTable()));
  const { digest: foreign } = await artifacts.put(Buffer.from('{"schema":"another"}'));
  const context = { store, views, artifacts, condition: { missing: null } };
  const told: v1.VerifyAllResponse[] = [];
  for await (const response of verifyAll(context as never, new AbortController().signal)) told.push(response);
  await rm(folder, { recursive: true });

  const whileRead = told.filter(({ check, detail }) => check === 'store' && detail.endsWith('events read'));
  expect(whileRead.map(({ detail }) => detail)).toEqual(['1000 events read', '2000 events read']);
  expect(mostOpen).toBeGreaterThan(1);
  expect([...new Set(told.map(({ runId }) => runId))].filter((runId) => runId !== '')).toEqual(RUNS);
  const shares = told.map(({ doneShare }) => doneShare);
  expect(shares).toEqual([...shares].sort((a, b) => a - b));
  // A measured table is known by its text, before any run names it.
  expect(told.at(-1)!.summary).toMatchObject({ runs: BigInt(RUNS.length), events: BigInt(events.length), unknown: [foreign] });
  expect(told.find(({ subject }) => subject === `artifact ${table}`)!.detail).toBe('speed table that a later run may name: whole');
});
