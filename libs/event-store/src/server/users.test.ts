import { scryptSync } from 'node:crypto';
import Database from 'better-sqlite3';
import { SCHEMA } from './database.js';
import { EventLog, newJsonEvent } from './event-log.js';
import { Users, type UserSetup } from './users.js';

const PASSWORD = 'p'.repeat(43);
const setUp = (password = PASSWORD, isDefault = false): UserSetup => ({ login: 'admin', password, groups: ['$admins'], isDefault });

/** A store, as far as users know it, that counts how often it is read. */
function storeWithUsers() {
  const database = new Database(':memory:');
  database.exec(SCHEMA);
  const log = new EventLog(database);
  const newest = database.prepare<[string], { data: Buffer }>(
    'SELECT data FROM events JOIN streams ON streams.id = stream_id WHERE name = ? ORDER BY revision DESC LIMIT 1',
  );
  const seen = { reads: 0 };
  const store = {
    transact: (work: (log: EventLog) => void) => {
      work(log);
      return Promise.resolve();
    },
    reader: {
      newest: (stream: string) => {
        seen.reads += 1;
        return newest.get(stream);
      },
    },
  };
  const count = (): number => (database.prepare('SELECT count(*) AS n FROM events').get() as { n: number }).n;
  return { log, store: store as never, seen, count };
}

test('a caller is told by a digest: no login reads the store, or takes a hash that is slow', async () => {
  const { store, seen } = storeWithUsers();
  const users = new Users(store);
  await users.setUp([setUp()]);
  seen.reads = 0;
  expect(users.verify('admin', PASSWORD)).toEqual({ name: 'admin', groups: ['$admins'] });
  expect([users.verify('admin', `${PASSWORD}x`), users.verify('admin', ''), users.verify('nobody', PASSWORD)]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(seen.reads).toBe(0);
});

test('a user that an earlier release recorded is recorded anew once the password is known', async () => {
  const { log, store, count } = storeWithUsers();
  const salt = 'salt';
  const slow = { salt, hash: scryptSync(PASSWORD, salt, 32).toString('base64'), groups: ['$admins'] };
  log.append('$user-admin', [newJsonEvent('$UserCreated', JSON.stringify(slow))], 'any');
  const unknown = new Users(store);
  await unknown.setUp([setUp('another', true)]);
  expect([unknown.verify('admin', 'another'), unknown.verify('admin', PASSWORD), count()]).toEqual([undefined, undefined, 1]);
  const users = new Users(store);
  await users.setUp([setUp()]);
  expect([users.verify('admin', PASSWORD)?.name, count()]).toEqual(['admin', 2]);
  const again = new Users(store);
  await again.setUp([setUp()]);
  expect([again.verify('admin', PASSWORD)?.name, count()]).toEqual(['admin', 2]);
});
