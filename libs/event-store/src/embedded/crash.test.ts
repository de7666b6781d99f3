import { spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { ownVersion, programFile } from '#files';
import { collect, eventually, newEvents } from '../contract/tested-server.js';
import {
  connectEventStore,
  EventStoreUnavailableError,
  requireKnownSchema,
  startEmbeddedEventStore,
  verifyEmbeddedEventStore,
  type EmbeddedEventStore,
  type NewEvent,
} from '../index.js';

const ENTRY = programFile(new URL('../server-main.js', import.meta.url));

describe('embedded event store when things go wrong', () => {
  const base = mkdtempSync(join(tmpdir(), 'event-store-crash-'));
  afterAll(() => rmSync(base, { recursive: true, force: true }));

  test('kill -9 under load loses nothing acknowledged and doubles nothing', async () => {
    const folder = join(base, 'kill');
    let server = await startEmbeddedEventStore({ folder });
    const acknowledged = new Set<string>();
    for (let round = 0; round < 4; round += 1) {
      const port = portOf(server);
      const store = connectEventStore(server);
      const before = acknowledged.size;
      const writers = Array.from({ length: 8 }, (_, id) => writeUntilUnavailable(store, `run-${id}`, acknowledged));
      await eventually(() => acknowledged.size > before + 40 * round);
      process.kill(server.pid, 'SIGKILL');
      const unanswered = await Promise.all(writers);
      await store.close();
      await eventually(() => !isAlive(server.pid));
      server = await startEmbeddedEventStore({ folder, port });
      const again = connectEventStore(server);
      // An append whose answer was lost is repeated with the same ids. Its events are stored once, whether the first try was stored or not.
      for (const [id, batch] of unanswered.entries()) {
        await again.append(`run-${id}`, batch, 'any');
        for (const event of batch) acknowledged.add(event.id);
      }
      const stored = await collect(again.readAll({ streamPrefixes: ['run-'] }));
      const ids = stored.map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      expect(new Set(ids)).toEqual(acknowledged);
      await again.close();
    }
    await server.stop();
    expect(verifyEmbeddedEventStore({ folder }).problems).toEqual([]);
  });

  test('a subscription goes on over a crash without a gap or a repetition', async () => {
    const folder = join(base, 'subscription');
    let server = await startEmbeddedEventStore({ folder });
    const port = portOf(server);
    const store = connectEventStore(server);
    const [one, all]: [number[], number[]] = [[], []];
    const subscription = store.subscribe('run', { after: 'start' });
    const toAll = store.subscribeAll({ after: 'end', streamPrefixes: ['run'] });
    let listening = false;
    const reading = [
      (async () => {
        for await (const item of subscription) if (item.kind === 'event') one.push(Number(item.event.revision));
      })(),
      (async () => {
        for await (const item of toAll) {
          listening = true;
          if (item.kind === 'event') all.push(Number(item.event.revision));
        }
      })(),
    ];
    await eventually(() => listening); // the subscription begins at the end
    for (let round = 0; round < 2; round += 1) {
      await appendInsistently(store, newEvents(20));
      process.kill(server.pid, 'SIGKILL');
      await eventually(() => !isAlive(server.pid));
      server = await startEmbeddedEventStore({ folder, port });
      await appendInsistently(store, newEvents(20));
    }
    const expected = Array.from({ length: 80 }, (_, index) => index);
    await eventually(() => one.length >= 80 && all.length >= 80);
    expect(one).toEqual(expected);
    expect(all).toEqual(expected);
    await store.close();
    await Promise.all(reading);
    await server.stop();
  });

  test('a torn write at the end of the log costs only what was never acknowledged', async () => {
    const folder = join(base, 'torn');
    const server = await startEmbeddedEventStore({ folder });
    const store = connectEventStore(server);
    for (let index = 0; index < 20; index += 1) await store.append('run', newEvents(1), 'any');
    process.kill(server.pid, 'SIGKILL');
    await store.close();
    await eventually(() => !isAlive(server.pid));
    const wal = join(folder, 'events.db-wal');
    appendFileSync(wal, Buffer.alloc(3000, 0x5a));
    expect(await countAfterRestart(folder)).toBe(20);
  });

  test('a log cut in the middle of its last write recovers to the write before', async () => {
    const folder = join(base, 'cut');
    const server = await startEmbeddedEventStore({ folder });
    const store = connectEventStore(server);
    for (let index = 0; index < 20; index += 1) await store.append('run', newEvents(1), 'any');
    process.kill(server.pid, 'SIGKILL');
    await store.close();
    await eventually(() => !isAlive(server.pid));
    const wal = join(folder, 'events.db-wal');
    truncateSync(wal, statSync(wal).size - 1000);
    expect(await countAfterRestart(folder)).toBe(19);
    expect(verifyEmbeddedEventStore({ folder }).problems).toEqual([]);
  });

  test('a full disk refuses the append whole, and the server goes on', async () => {
    const folder = join(base, 'full');
    const server = await startEmbeddedEventStore({ folder, maxDatabaseBytes: 1_000_000 });
    const store = connectEventStore(server);
    const large = (): NewEvent[] => newEvents(400).map((event) => ({ ...event, data: Buffer.alloc(500, 0x41) }));
    await store.append('run', large(), 'no_stream');
    const [refused, small] = await Promise.allSettled([
      Promise.all([store.append('run', [...large(), ...large(), ...large()], 'any')]),
      store.append('small', newEvents(1), 'any'),
    ]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'STORE_DISK_FULL' } });
    expect(small).toMatchObject({ status: 'fulfilled' });
    expect(await collect(store.read('run'))).toHaveLength(400);
    expect(await store.append('run', newEvents(1), 399n)).toMatchObject({ revision: 400n });
    await store.close();
    await server.stop();
  });

  test('events of many megabytes pass, larger ones are refused by name of the limit', async () => {
    const server = await startEmbeddedEventStore({ folder: join(base, 'large') });
    const store = connectEventStore(server);
    const sized = (megabytes: number) => newEvents(1).map((event) => ({ ...event, data: Buffer.alloc(megabytes << 20, 0x42) }));
    await store.append('run', [...sized(5), ...sized(6)], 'no_stream');
    await expect(store.append('run', sized(17), 'any')).rejects.toMatchObject({
      code: 'EVENT_STORE_APPEND_TOO_LARGE',
      message: expect.stringContaining(String(16 << 20)),
    });
    expect((await collect(store.read('run'))).map(({ data }) => data.length >> 20)).toEqual([5, 6]);
    await store.close();
    await server.stop();
  });

  test('many subscribers each get everything in order, and the server has nothing to complain of', async () => {
    const logFile = join(base, 'many.log');
    const server = await startEmbeddedEventStore({ folder: join(base, 'many'), logFile });
    const store = connectEventStore(server);
    await store.append('run', newEvents(30), 'no_stream');
    const subscriptions = Array.from({ length: 60 }, () => store.subscribe('run', { after: 'start' }));
    const reading = subscriptions.map(async (subscription) => {
      const revisions: number[] = [];
      for await (const item of subscription) {
        if (item.kind === 'event') revisions.push(Number(item.event.revision));
        if (revisions.length >= 60) break;
      }
      return revisions;
    });
    await store.append('run', newEvents(30), 29n);
    const expected = Array.from({ length: 60 }, (_, index) => index);
    for (const revisions of await Promise.all(reading)) expect(revisions).toEqual(expected);
    await store.close();
    await server.stop();
    expect(readFileSync(logFile, 'utf8')).toBe('');
  });

  test('one server per folder; the lock goes with its holder', async () => {
    const folder = join(base, 'lock');
    const server = await startEmbeddedEventStore({ folder });
    await expect(startEmbeddedEventStore({ folder })).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    process.kill(server.pid, 'SIGKILL');
    await eventually(() => !isAlive(server.pid));
    const next = await startEmbeddedEventStore({ folder });
    await next.stop();
  });

  test('the server ends when its parent is killed', async () => {
    const folder = join(base, 'orphan');
    const index = new URL('../index.js', import.meta.url).href;
    const code = `const { startEmbeddedEventStore } = await import(${JSON.stringify(index)});
      const { pid } = await startEmbeddedEventStore({ folder: ${JSON.stringify(folder)} });
      console.log(pid); setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
    const pid = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)));
    expect(isAlive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await eventually(() => !isAlive(pid));
  });

  test('a stopped server ends what is open and says so', async () => {
    const folder = join(base, 'stop');
    const server = await startEmbeddedEventStore({ folder });
    const store = connectEventStore(server);
    await store.append('run', newEvents(1), 'any');
    await server.stop();
    expect(existsSync(join(folder, 'events.db-wal'))).toBe(false);
    await expect(store.append('run', newEvents(1), 'any')).rejects.toBeInstanceOf(EventStoreUnavailableError);
    await expect(collect(store.read('run'))).rejects.toBeInstanceOf(EventStoreUnavailableError);
    await store.close();
  });

  test('a file that is no database is refused', async () => {
    const folder = join(base, 'no-database');
    mkdirSync(folder);
    writeFileSync(join(folder, 'events.db'), 'not a database'.repeat(500));
    await expect(startEmbeddedEventStore({ folder })).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  test.each([
    [
      'names it',
      "UPDATE store_info SET value = '9.9.9' WHERE key = 'schema_release'",
      'is of a later release, 9.9.9: its schema has version 99',
    ],
    [
      'has the name of this one',
      'UPDATE store_info SET value = value',
      `is of a later build of release ${ownVersion()}: its schema has version 99, and this build reads`,
    ],
    ['does not name it', 'DROP TABLE store_info', 'is of a later release: its schema has version 99'],
  ])('a store of a later release that %s is refused, and keeps its bytes', async (name, change, words) => {
    const folder = join(base, `later, ${name}`);
    await (await startEmbeddedEventStore({ folder })).stop();
    const file = join(folder, 'events.db');
    const killed = `
      const database = new (require('better-sqlite3'))(process.argv[1]);
      database.pragma('wal_autocheckpoint = 0');
      database.exec(process.argv[2] + '; PRAGMA user_version = 99');
      process.kill(process.pid, 'SIGKILL');`;
    spawnSync(process.execPath, ['-e', killed, file, change]);
    const bytes = () => [file, `${file}-wal`].map((one) => readFileSync(one, 'hex'));
    const before = bytes();
    const refusal = { code: 'STORE_SCHEMA_TOO_NEW', message: expect.stringContaining(words) };
    expect(() => requireKnownSchema(folder)).toThrow(expect.objectContaining(refusal));
    await expect(startEmbeddedEventStore({ folder })).rejects.toMatchObject(refusal);
    expect(bytes()).toEqual(before);
  });

  test('a store of a build before the first release is refused by name, and keeps its bytes', async () => {
    const folder = join(base, 'before the first release');
    await (await startEmbeddedEventStore({ folder })).stop();
    const database = new Database(join(folder, 'events.db'));
    database.pragma('user_version = 1');
    database.close();
    const bytes = readFileSync(join(folder, 'events.db'), 'hex');
    const refusal = { code: 'STORE_SCHEMA_TOO_OLD', message: expect.stringContaining('is of a build before release 0.1.0') };
    await expect(startEmbeddedEventStore({ folder })).rejects.toMatchObject(refusal);
    expect(readFileSync(join(folder, 'events.db'), 'hex')).toBe(bytes);
  });

  test('a folder that is a file, an address in use', async () => {
    const file = join(base, 'file');
    writeFileSync(file, '');
    await expect(startEmbeddedEventStore({ folder: file })).rejects.toMatchObject({ code: 'STORE_FOLDER_UNUSABLE' });
    const server = await startEmbeddedEventStore({ folder: join(base, 'first') });
    await expect(startEmbeddedEventStore({ folder: join(base, 'second'), port: portOf(server) })).rejects.toMatchObject({
      code: 'STORE_ADDRESS_UNUSABLE',
    });
    await server.stop();
  });

  test('a read-only folder is refused as such', async () => {
    const folder = join(base, 'read-only');
    mkdirSync(folder);
    chmodSync(folder, 0o555);
    chmodSync(base, 0o755);
    // The root user may write anywhere, so the server is started as another user.
    const identity = process.getuid!() === 0 ? { uid: 65534, gid: 65534 } : {};
    const child = spawn(process.execPath, [ENTRY, '--folder', folder, '--port', '0'], {
      stdio: ['ignore', 'pipe', 'ignore'],
      ...identity,
    });
    const line = String(await new Promise((resolve) => child.stdout.once('data', resolve)));
    expect(JSON.parse(line)).toMatchObject({ ready: false, code: expect.stringMatching(/^STORE_(READ_ONLY|FOLDER_UNUSABLE)$/) });
    child.kill();
  });
});

/** @returns the batch whose append was never answered */
async function writeUntilUnavailable(
  store: ReturnType<typeof connectEventStore>,
  stream: string,
  acknowledged: Set<string>,
): Promise<NewEvent[]> {
  for (;;) {
    const batch = newEvents(3);
    try {
      await store.append(stream, batch, 'any');
      for (const event of batch) acknowledged.add(event.id);
    } catch (error) {
      expect(error).toBeInstanceOf(EventStoreUnavailableError);
      return batch;
    }
  }
}

async function appendInsistently(store: ReturnType<typeof connectEventStore>, batch: NewEvent[]): Promise<void> {
  await eventually(async () => {
    try {
      await store.append('run', batch, 'any');
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(EventStoreUnavailableError);
      return false;
    }
  });
}

async function countAfterRestart(folder: string): Promise<number> {
  const server = await startEmbeddedEventStore({ folder });
  const store = connectEventStore(server);
  const { length } = await collect(store.read('run'));
  expect(await store.append('run', newEvents(1), BigInt(length - 1))).toMatchObject({ revision: BigInt(length) });
  await store.close();
  await server.stop();
  return length;
}

function portOf({ connectionString }: EmbeddedEventStore): number {
  return Number(new URL(connectionString.replace('kurrentdb:', 'http:')).port);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
