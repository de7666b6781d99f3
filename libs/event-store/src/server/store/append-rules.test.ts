import Database from 'better-sqlite3';
import { SCHEMA } from './database.js';
import { EventLog, newJsonEvent } from './event-log.js';
import { RepeatDiffers } from './refusals.js';

test('a retry is looked for by its event id, so it costs the same however long the stream has become', () => {
  const queries: string[] = [];
  const database = new Database(':memory:', { verbose: (sql) => queries.push(String(sql)) });
  database.exec(SCHEMA);
  const log = new EventLog(database);
  const first = newJsonEvent('MasksUpdated', '{}');
  const written = log.append('pruningRun-1', [first], 'any');
  log.append('pruningRun-1', [newJsonEvent('MasksUpdated', '{}')], 'any');

  queries.length = 0;
  expect(log.append('pruningRun-1', [first], 'any')).toMatchObject(written);
  const lookUps = queries.filter((sql) => sql.includes('event_id = '));
  expect(lookUps).toHaveLength(1);
  const [plan] = database.prepare<[], { detail: string }>(`EXPLAIN QUERY PLAN ${lookUps[0]}`).all();
  expect(plan?.detail).toBe('SEARCH events USING INDEX events_by_id (stream_id=? AND event_id=?)');
});

describe('an append with the ids of stored events', () => {
  const database = new Database(':memory:');
  database.exec(SCHEMA);
  const log = new EventLog(database);
  const event = newJsonEvent('MasksUpdated', '{"a":1}', 'who');
  const written = log.append('run', [event], 'no_stream');

  test.each(['any', 'no_stream'] as const)('is answered as the first time where it has their bytes (%s)', (expected) => {
    expect(log.append('run', [{ ...event }], expected)).toMatchObject(written);
  });

  test.each([
    ['data', { data: Buffer.from('{"a":2}') }],
    ['metadata', { metadata: Buffer.from('other') }],
    ['type', { type: 'MasksUpdate' }],
    ['kind', { isJson: false }],
  ])('is refused by name where it has another %s', (_what, change) => {
    const repeat = (): unknown => log.append('run', [{ ...event, ...change }], 'any');
    expect(repeat).toThrow(RepeatDiffers);
    expect(repeat).toThrow(/^STORE_REPEAT_DIFFERS: event [0-9a-f-]{36} is stored with other bytes, as event 0 of stream 'run'$/);
    expect(log.endPosition).toBe(written.position);
  });
});
