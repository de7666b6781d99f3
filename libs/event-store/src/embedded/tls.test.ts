import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AccessDeniedError, KurrentDBClient } from '@kurrent/kurrentdb-client';
import { AUTHORITY_PEM, CERTIFICATE_PEM, KEY_PEM } from '../contract/certificate.js';
import { collect, events, newEvents } from '../contract/tested-server.js';
import { connectEventStore, startEmbeddedEventStore, type EmbeddedEventStore } from '../index.js';

describe('embedded event store with TLS and users', () => {
  const folder = mkdtempSync(join(tmpdir(), 'event-store-tls-'));
  const tls = { certFile: join(folder, 'node.crt'), keyFile: join(folder, 'node.key'), caFile: join(folder, 'ca.crt') };
  const users = { admin: 'a secret: with @ and /', ops: 'other' };
  const clients: KurrentDBClient[] = [];
  let server: EmbeddedEventStore;

  beforeAll(async () => {
    writeFileSync(tls.certFile, CERTIFICATE_PEM);
    writeFileSync(tls.keyFile, KEY_PEM);
    writeFileSync(tls.caFile, AUTHORITY_PEM);
    server = await startEmbeddedEventStore({ folder: join(folder, 'store'), tls, users });
  });
  afterAll(async () => {
    for (const client of clients) await client.dispose();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  function clientAs(login: string): KurrentDBClient {
    const client = KurrentDBClient.connectionString(server.connectionString.replace(/\/\/[^@]*@/, `//${login}@`));
    clients.push(client);
    return client;
  }

  test('lets the administrator do everything, and keeps no password in the store', async () => {
    const store = connectEventStore(server);
    await store.append('run-1', newEvents(2), 'no_stream');
    await store.keepNewest('run-1', 1);
    expect((await collect(store.readAll())).map(({ stream }) => stream)).toEqual(['run-1', 'run-1', '$$run-1']);
    await store.close();
  });

  test('takes the login from the options too', async () => {
    const open = server.connectionString.replace(/\/\/[^@]*@/, '//');
    const store = connectEventStore({ connectionString: open, username: 'admin', password: users.admin });
    await expect(store.ping()).resolves.toBeUndefined();
    await store.close();
  });

  test('refuses callers it does not know, on every path', async () => {
    const client = clientAs('nobody:wrong');
    await expect(client.appendToStream('run-2', events(1))).rejects.toBeInstanceOf(AccessDeniedError);
    await expect(collect(client.readStream('run-1'))).rejects.toBeInstanceOf(AccessDeniedError);
    await expect(collect(client.readAll())).rejects.toBeInstanceOf(AccessDeniedError);
    await expect(collect(client.subscribeToStream('run-1'))).rejects.toBeInstanceOf(AccessDeniedError);
    await expect(client.deleteStream('run-1')).rejects.toBeInstanceOf(AccessDeniedError);
    const store = connectEventStore({ connectionString: server.connectionString, username: 'admin', password: 'wrong' });
    await expect(store.append('run-2', newEvents(1), 'any')).rejects.toMatchObject({ code: 'EVENT_STORE_ACCESS_DENIED' });
    await store.close();
  });

  test('keeps operators to what is theirs', async () => {
    const ops = clientAs('ops:other');
    await ops.appendToStream('run-3', events(1));
    await ops.setStreamMetadata('run-3', { maxCount: 1 });
    expect(await collect(ops.readStream('run-3'))).toHaveLength(1);
    await expect(collect(ops.readAll())).rejects.toBeInstanceOf(AccessDeniedError);
    for (const system of ['$system', '$$$system']) {
      await expect(ops.appendToStream(system, events(1))).rejects.toBeInstanceOf(AccessDeniedError);
      await expect(collect(ops.readStream(system))).rejects.toBeInstanceOf(AccessDeniedError);
    }
  });

  (process.getuid?.() === 0 ? test : test.skip)('closes the connection of another user before it is asked for anything', async () => {
    const { port } = new URL(server.connectionString.replace('kurrentdb:', 'http:'));
    const program = `require('net').connect(${port}, '127.0.0.1').on('error', () => {}).on('close', () => process.exit(7))`;
    const stranger = spawn(process.execPath, ['-e', program], { uid: 65_534, gid: 65_534, cwd: '/', stdio: 'ignore' });
    expect(await once(stranger, 'exit')).toEqual([7, null]); // with TLS, the server would first wait for a message
  });

  test('has limited room: connections that have not logged in make way, and others do not', async () => {
    const { port } = new URL(server.connectionString.replace('kurrentdb:', 'http:'));
    const client = clientAs(`admin:${encodeURIComponent(users.admin)}`);
    const feed = client.subscribeToStream('run-4');
    const met = new Promise((resolve) => {
      for (const name of ['data', 'error', 'close']) feed.once(name, () => resolve(name));
    });
    await once(feed, 'confirmation');
    const crowd: Socket[] = [];
    const first = new Promise((resolve) => {
      for (let i = 0; i < 600; i += 1)
        crowd.push(
          connect(Number(port), '127.0.0.1')
            .on('error', () => undefined)
            .once('close', resolve),
        );
    });
    await first;
    await client.appendToStream('run-4', events(1));
    expect(await met).toBe('data');
    for (const socket of crowd) socket.destroy();
    await feed.unsubscribe();
  });

  test('starts with a password of admin only', async () => {
    const started = startEmbeddedEventStore({ folder: join(folder, 'open'), tls });
    await expect(started).rejects.toMatchObject({
      code: 'STORE_TLS_UNUSABLE',
      message: expect.stringContaining('ADMIN_PASSWORD') as string,
    });
  });
});
