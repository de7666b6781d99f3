import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { collect, newEvents } from '../contract/tested-server.js';
import {
  backupEmbeddedEventStore,
  connectEventStore,
  embeddedEventStoreStats,
  restoreEmbeddedEventStore,
  startEmbeddedEventStore,
  verifyEmbeddedEventStore,
} from '../index.js';

describe('maintenance of the embedded event store', () => {
  const base = mkdtempSync(join(tmpdir(), 'event-store-maintenance-'));
  const folder = join(base, 'store');
  const backup = join(base, 'backups', 'one.db');
  afterAll(() => rmSync(base, { recursive: true, force: true }));

  test('backs up while events are written, restores, and finds a flipped byte', async () => {
    const server = await startEmbeddedEventStore({ folder });
    const store = connectEventStore(server);
    let isWriting = true;
    let appended = 0;
    const writer = (async () => {
      while (isWriting) {
        await store.append('run-1', newEvents(5), 'any');
        appended += 5;
      }
    })();
    while (appended < 10) await new Promise((resolve) => setTimeout(resolve, 10));
    const before = appended;
    const report = await backupEmbeddedEventStore({ folder, file: backup });
    expect(statSync(backup).mode & 0o777).toBe(0o600); // it holds all events, and the digests of tokens
    expect(report.events).toBeGreaterThanOrEqual(before);
    expect(report.events % 5).toBe(0);
    expect(embeddedEventStoreStats({ folder })).toMatchObject({ isOpen: true, streams: 1, schemaVersion: 2 });
    isWriting = false;
    await writer;
    await expect(backupEmbeddedEventStore({ folder, file: backup })).rejects.toMatchObject({ code: 'BACKUP_FILE_EXISTS' });
    expect(() => restoreEmbeddedEventStore({ file: backup, folder })).toThrow(expect.objectContaining({ code: 'STORE_EXISTS' }));
    const fifo = `${backup}.fifo`;
    execFileSync('mkfifo', [fifo]); // SQLite would wait for a writer of the FIFO
    expect(() => restoreEmbeddedEventStore({ file: fifo, folder, overwrite: true })).toThrow(
      expect.objectContaining({ code: 'BACKUP_FILE_UNUSABLE' }),
    );
    expect(() => restoreEmbeddedEventStore({ file: backup, folder, overwrite: true })).toThrow(
      expect.objectContaining({ code: 'STORE_LOCKED' }),
    );
    await store.close();
    await server.stop();
    expect(embeddedEventStoreStats({ folder })).toMatchObject({ isOpen: false, events: appended });
    const { previousStoreFolder } = restoreEmbeddedEventStore({ file: backup, folder, overwrite: true });
    expect(previousStoreFolder).toBeDefined();
    expect(verifyEmbeddedEventStore({ folder })).toMatchObject({ events: report.events, problems: [] });
    flipByteOf(join(folder, 'events.db'), 7);
    const [problem] = verifyEmbeddedEventStore({ folder }).problems;
    expect(problem).toMatchObject({ code: 'EVENT_CORRUPT', stream: 'run-1', revision: 7 });
    await expectReadToName(folder, 7);
  });

  test('says which place can not hold a backup, and does not back up what is damaged', async () => {
    await expect(backupEmbeddedEventStore({ folder: join(base, 'nowhere'), file: join(base, 'none.db') })).rejects.toMatchObject({
      code: 'STORE_NOT_FOUND',
    });
    expect(existsSync(join(base, 'none.db.partial'))).toBe(false);
    const inFile = join(folder, 'events.db', 'x.db');
    await expect(backupEmbeddedEventStore({ folder, file: inFile })).rejects.toMatchObject({
      code: 'BACKUP_FILE_UNUSABLE',
      message: expect.stringContaining(inFile),
    });
    await expect(backupEmbeddedEventStore({ folder, file: join(base, 'none.db') })).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
      message: expect.stringContaining(`the store in "${folder}" is damaged`),
    });
  });

  test('refuses a damaged backup and leaves the store as it is', async () => {
    flipByteOf(backup, 3);
    const target = join(base, 'never');
    expect(() => restoreEmbeddedEventStore({ file: backup, folder: target })).toThrow(expect.objectContaining({ code: 'BACKUP_DAMAGED' }));
    expect(() => embeddedEventStoreStats({ folder: target })).toThrow(expect.objectContaining({ code: 'STORE_NOT_FOUND' }));
    writeFileSync(backup, 'this is not a database, but it is long enough to look at: '.repeat(40));
    expect(() => restoreEmbeddedEventStore({ file: backup, folder: target })).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }));
  });
});

async function expectReadToName(folder: string, revision: number): Promise<void> {
  const server = await startEmbeddedEventStore({ folder });
  const store = connectEventStore(server);
  await expect(collect(store.read('run-1'))).rejects.toMatchObject({
    code: 'EVENT_CORRUPT',
    message: expect.stringContaining(`event ${revision} of stream 'run-1'`),
  });
  await store.close();
  await server.stop();
}

/** Flips a byte in the database file itself, so that the server does not notice the change. */
function flipByteOf(file: string, revision: number): void {
  const database = new Database(file);
  const data = database.prepare<[number], Buffer>('SELECT data FROM events WHERE revision = ?').pluck().get(revision)!;
  data[data.length - 2]! ^= 1;
  database.prepare('UPDATE events SET data = ? WHERE revision = ?').run(data, revision);
  database.close();
}
