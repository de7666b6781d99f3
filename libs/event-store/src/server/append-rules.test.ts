import Database from 'better-sqlite3';
import { SCHEMA } from './database.js';
import { EventLog, newJsonEvent } from './event-log.js';

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
