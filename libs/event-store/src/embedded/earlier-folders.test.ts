import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AccessDeniedError, KurrentDBClient, StreamDeletedError, StreamNotFoundError } from '@kurrent/kurrentdb-client';
import { AUTHORITY_PEM, CERTIFICATE_PEM, KEY_PEM } from '../contract/certificate.js';
import { collect, events } from '../contract/tested-server.js';
import { startEmbeddedEventStore, verifyEmbeddedEventStore, type EmbeddedEventStore } from '../index.js';
import { checksumOf, TOMBSTONE_REVISION } from '../server/store/event-record.js';
import { newJsonEvent } from '../server/store/event-log.js';
import { Store } from '../server/store/store.js';

const DELETED = '{"$maxCount":5,"colour":"green","$tb":9223372036854775807}';

/** Writes records of users, rights, consumer groups, deleted streams and links as earlier releases wrote them. */
async function writeEarlierRecords(folder: string): Promise<number> {
  const store = Store.open(folder);
  const add = (stream: string, type: string, json: string) => store.append(stream, [newJsonEvent(type, json)], 'any');
  const password = { loginName: 'admin', algorithm: 'sha256', salt: 'salt', hash: 'x'.repeat(44), groups: ['$admins'] };
  await add('$user-admin', '$UserCreated', JSON.stringify(password));
  await add('$users', '$User', '"admin"');
  await add('$$$user-admin', '$metadata', '{"$acl":{"$r":"$admins","$w":"$admins"}}');
  await add('$persistentsubscription-run::group-checkpoint', '$SubscriptionCheckpoint', '1');
  await add('closed', 'Tested', '{}');
  await add('$$closed', '$metadata', '{"$acl":{"$r":["$all"],"$w":["ops"]}}');
  await add('linking', '$>', '0@closed');
  for (const _ of [0, 1, 2]) await add('deleted', 'Tested', '{}');
  await add('$$deleted', '$metadata', DELETED);
  await add('ended', 'Tested', '{}');
  const position = store.log.endPosition + 1000;
  const { id } = store.log.heads.find('ended')!;
  const end = { ...newJsonEvent('$streamDeleted', '{}'), position, revision: TOMBSTONE_REVISION, createdUs: 1 };
  store.database
    .prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, 1, 1, ?, ?, ?)')
    .run(position, id, BigInt(TOMBSTONE_REVISION), end.eventId, end.type, end.data, end.metadata, checksumOf('ended', end));
  store.database.prepare('UPDATE streams SET tombstoned = 1 WHERE id = ?').run(id);
  await store.close();
  return 12;
}

describe('a folder of an earlier release', () => {
  const base = mkdtempSync(join(tmpdir(), 'event-store-earlier-'));
  const folder = join(base, 'store');
  const tls = { certFile: join(base, 'node.crt'), keyFile: join(base, 'node.key'), caFile: join(base, 'ca.crt') };
  const clients: KurrentDBClient[] = [];
  let server: EmbeddedEventStore;
  let written: number;

  beforeAll(async () => {
    writeFileSync(tls.certFile, CERTIFICATE_PEM);
    writeFileSync(tls.keyFile, KEY_PEM);
    writeFileSync(tls.caFile, AUTHORITY_PEM);
    written = await writeEarlierRecords(folder);
    server = await startEmbeddedEventStore({ folder, tls, users: { admin: 'new', ops: 'other' } });
  });
  afterAll(async () => {
    for (const client of clients) await client.dispose();
    await server.stop();
    rmSync(base, { recursive: true, force: true });
  });

  function clientAs(login: string): KurrentDBClient {
    const client = KurrentDBClient.connectionString(server.connectionString.replace(/\/\/[^@]*@/, `//${login}@`));
    clients.push(client);
    return client;
  }

  test('opens with the passwords of this start, and keeps every record', async () => {
    const admin = clientAs('admin:new');
    expect(await collect(admin.readAll())).toHaveLength(written + 1);
    expect(await collect(admin.readStream('$user-admin'))).toHaveLength(1);
    const [link] = await collect(admin.readStream('linking'));
    expect([link!.event!.type, link!.link]).toEqual(['$>', undefined]);
    expect(verifyEmbeddedEventStore({ folder })).toMatchObject({ events: written + 1, problems: [] });
  });

  test('keeps operators out of a stream that had an access control list', async () => {
    const ops = clientAs('ops:other');
    await expect(collect(ops.readStream('closed'))).rejects.toBeInstanceOf(AccessDeniedError);
    await expect(ops.appendToStream('closed', events(1))).rejects.toBeInstanceOf(AccessDeniedError);
    await expect(ops.setStreamMetadata('closed', {})).rejects.toBeInstanceOf(AccessDeniedError);
  });

  test('a stream that was deleted for good stays so, for readers, writers and subscribers', async () => {
    const admin = clientAs('admin:new');
    await expect(collect(admin.readStream('ended'))).rejects.toBeInstanceOf(StreamDeletedError);
    await expect(admin.appendToStream('ended', events(1))).rejects.toBeInstanceOf(StreamDeletedError);
    await expect(collect(admin.subscribeToStream('ended'))).rejects.toBeInstanceOf(StreamDeletedError);
  });

  test('a stream that was deleted is gone, and goes on after its last revision when written again, with its other metadata', async () => {
    const admin = clientAs('admin:new');
    await expect(collect(admin.readStream('deleted'))).rejects.toBeInstanceOf(StreamNotFoundError);
    await admin.appendToStream('deleted', events(2), { streamState: 'no_stream' });
    expect((await collect(admin.readStream('deleted'))).map(({ event }) => event!.revision)).toEqual([3n, 4n]);
    expect((await admin.getStreamMetadata('deleted')).metadata).toEqual({ maxCount: 5, colour: 'green', truncateBefore: 3 });
  });
});
