// Tests VerifyRun over the embedded store itself. A change of any field of any event in the file must be named.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { openArtifactStore } from '#artifact-store';
import {
  connectEventStore,
  startEmbeddedEventStore,
  verifyEmbeddedEventStore,
  type EmbeddedEventStore,
  type EventStore,
} from '#event-store';
import { v1 } from '#protocol';
import { launched, stateAt, Story } from '../pruning-run/testing.js';
import { Recorder } from '../views/testing.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import type { VerifyContext } from './verify-context.js';
import { verifyRun } from './verify-run.js';

const RUN = 'aaaabbbbcccc';
let base: string;
let folder: string;
let server: EmbeddedEventStore;
let store: EventStore;

async function verdicts(): Promise<v1.VerifyRunResponse[]> {
  const artifacts = await openArtifactStore({ folder: join(base, 'artifacts') });
  const views = { runId: (text: string) => Promise.resolve(text), peek: () => null, database: { prepare: () => ({ all: () => [] }) } };
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
  const all: v1.VerifyRunResponse[] = [];
  for await (const verdict of verifyRun(context, v1.VerifyRunRequest.fromPartial({ runId: RUN }), BY_SERVER, new AbortController().signal))
    all.push(verdict);
  return all;
}

async function problems(): Promise<string[]> {
  return (await verdicts())
    .filter(({ ok, check, notChecked }) => !ok && !notChecked && check !== 'summary' && check !== 'artifacts')
    .map(({ subject, detail }) => `${subject}: ${detail}`);
}

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'damaged-store-'));
  folder = join(base, 'event-store');
  const story = new Story(launched({ totalSteps: 20, segmentSteps: 10 }, RUN)).start().train(stateAt(10, 0.012), stateAt(20, 0.02));
  server = await startEmbeddedEventStore({ folder });
  store = connectEventStore(server);
  for (const { stream, ...event } of new Recorder().record(RUN, story.facts).events) await store.append(stream, [event], 'any');
  expect(await problems()).toEqual([]);
});
afterAll(async () => {
  await store.close();
  await server.stop();
  await rm(base, { recursive: true, force: true });
});

test('every damaged event of both streams is named, each once, and nothing else is', async () => {
  const database = new Database(join(folder, 'events.db'));
  const rows = database
    .prepare(
      'SELECT position, revision, name, data FROM events JOIN streams ON streams.id = stream_id WHERE name LIKE ? ORDER BY name, revision',
    )
    .all(`%${RUN}`) as { position: number; revision: number; name: string; data: Buffer }[];
  const spoil = database.prepare("UPDATE events SET data = CAST(data || 'x' AS BLOB) WHERE position = ?");
  const mend = database.prepare('UPDATE events SET data = ? WHERE position = ?');
  const ofRun = rows.filter(({ name }) => name.startsWith('pruningRun-'));
  const ofMetrics = rows.filter(({ name }) => name.startsWith('runMetrics-'));
  const choices = [
    [ofRun[1]!, ofRun[2]!, ofRun[5]!, ofMetrics[0]!],
    [ofRun[0]!, ofRun.at(-1)!],
    [ofMetrics[0]!, ofMetrics[1]!],
    ofRun.filter((_, index) => index % 2 === 1),
    rows,
  ];
  for (const victims of choices) {
    for (const { position } of victims) spoil.run(position);
    const subjects = (await problems()).map((problem) => problem.slice(0, problem.indexOf(':')));
    expect(subjects.sort()).toEqual(
      victims.map(({ name, revision }) => `${name.startsWith('pruningRun-') ? '' : 'metrics of '}run ${RUN} revision ${revision}`).sort(),
    );
    for (const { position, data } of victims) mend.run(data, position);
  }
  database.close();
  expect(await problems()).toEqual([]);
});

test('what needs an event that could not be read is not called good, and that event is not counted', async () => {
  const database = new Database(join(folder, 'events.db'));
  const find = database.prepare<[string, number], { position: number; data: Buffer }>(
    'SELECT position, data FROM events JOIN streams ON streams.id = stream_id WHERE name = ? AND revision = ?',
  );
  const change = database.prepare('UPDATE events SET data = ? WHERE position = ?');
  const whole = (await verdicts()).at(-1)!.summary!;
  expect((await verdicts()).some(({ notChecked }) => notChecked)).toBe(false);
  for (const [stream, revision, checks, detail] of [
    [`pruningRun-${RUN}`, 3, ['contiguity', 'schema', 'chain', 'steps', 'lineage'], "not checked: event 3 can't be read"],
    [`runMetrics-${RUN}`, 1, ['metrics'], "not checked: batch 1 can't be read"],
  ] as const) {
    const { position, data } = find.get(stream, revision)!;
    change.run(Buffer.from(data.map((byte, index) => (index === 5 ? byte ^ 1 : byte))), position);
    const found = await verdicts();
    change.run(data, position);
    const open = found.filter(({ notChecked }) => notChecked);
    expect(open.map(({ check }) => check)).toEqual(checks);
    expect(new Set(open.map((verdict) => verdict.detail))).toEqual(new Set([detail]));
    expect(found.filter(({ check, ok }) => (checks as readonly string[]).includes(check) && ok && check !== 'lineage')).toEqual([]);
    const { summary } = found.at(-1)!;
    expect(summary).toMatchObject({ ok: false, events: whole.events - 1n });
    expect(summary!.problems.filter((problem) => !problem.startsWith('artifacts'))).toHaveLength(1);
  }
  database.close();
});

// Each statement changes one byte, and always to another value than before.
const columns = {
  'event id': "event_id = CAST(substr(event_id, 1, 15) || iif(substr(event_id, 16) = x'00', x'01', x'00') AS BLOB)",
  type: "type = substr(type, 1, length(type) - 1) || 'X'",
  is_json: 'is_json = 1 - is_json',
  created: 'created_us = created_us + iif((created_us >> 16) & 255 = 255, -65536, 65536)',
  data: 'data = CAST(replace(CAST(data AS TEXT), \'"v":\', \'"w":\') AS BLOB)',
  metadata: "metadata = CAST('x' AS BLOB)",
  position: 'position = position + 1',
};

test.each(Object.keys(columns))('a change of %s is named with its event', async (field) => {
  const database = new Database(join(folder, 'events.db'));
  const rows = database
    .prepare('SELECT position, revision, name FROM events JOIN streams ON streams.id = stream_id WHERE name LIKE ?')
    .all(`%${RUN}`) as Record<string, unknown>[];
  const victims = [rows[0]!, rows[Math.floor(rows.length / 2)]!, rows.at(-1)!];
  for (const { position, revision, name } of victims) {
    const whole = database.prepare('SELECT * FROM events WHERE position = ?').get(position) as Record<string, unknown>;
    database.prepare(`UPDATE events SET ${columns[field as keyof typeof columns]} WHERE position = ?`).run(position);
    const subject = String(name).startsWith('pruningRun-')
      ? `run ${RUN} revision ${String(revision)}`
      : `metrics of run ${RUN} revision ${String(revision)}`;
    const found = await problems();
    expect(found).toContainEqual(expect.stringContaining(subject));
    expect(found.join('\n')).toMatch(/does not match its checksum/);
    const report = verifyEmbeddedEventStore({ folder }).problems;
    expect(report).toContainEqual(expect.objectContaining({ code: 'EVENT_CORRUPT', stream: name, revision }));
    database.prepare(`DELETE FROM events WHERE stream_id = ? AND revision = ?`).run(whole['stream_id'], revision);
    database
      .prepare(
        `INSERT INTO events VALUES (${Object.keys(whole)
          .map((key) => `@${key}`)
          .join(', ')})`,
      )
      .run(whole);
  }
  database.close();
  expect(verifyEmbeddedEventStore({ folder }).problems).toEqual([]);
});
