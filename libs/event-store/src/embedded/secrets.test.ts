import { X509Certificate } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collect, newEvents } from '../contract/tested-server.js';
import { connectEventStore, startEmbeddedEventStore, storeSecrets } from '../index.js';

describe('the secrets of a store', () => {
  const folder = mkdtempSync(join(tmpdir(), 'event-store-secrets-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('are made once, for the owner only, and let the official client write and read', async () => {
    const usual = process.umask(0);
    const secrets = await storeSecrets(folder).finally(() => process.umask(usual));
    expect(await storeSecrets(folder)).toEqual(secrets);
    const place = join(folder, 'secrets');
    expect([place, ...readdirSync(place).map((name) => join(place, name))].map((path) => statSync(path).mode & 0o077)).toEqual([
      0, 0, 0, 0, 0, 0,
    ]);
    const server = await startEmbeddedEventStore({ folder, ...secrets });
    const store = connectEventStore(server);
    await store.append('run-1', newEvents(3), 'no_stream');
    expect(await collect(store.read('run-1'))).toHaveLength(3);
    await store.close();
    await server.stop();
  });

  test('are of this store alone: a certificate that is not an authority, signed by one whose key is forgotten', async () => {
    const { tls, users } = await storeSecrets(folder);
    const [authority, certificate] = [tls.caFile, tls.certFile].map((file) => new X509Certificate(readFileSync(file)));
    expect([authority!.ca, certificate!.ca]).toEqual([true, false]);
    expect(certificate!.verify(authority!.publicKey)).toBe(true);
    expect(certificate!.subjectAltName).toBe('DNS:localhost, IP Address:127.0.0.1');
    expect(new Date(certificate!.validTo).getTime() - Date.now()).toBeGreaterThan(50 * 365 * 86_400_000);
    expect(readFileSync(tls.keyFile, 'utf8').match(/PRIVATE KEY/g)).toHaveLength(2);
    expect(new Set([users.admin, users.ops, 'changeit']).size).toBe(3);
    expect(users.admin.length).toBeGreaterThan(40);
    const other = await storeSecrets(join(folder, 'other'));
    expect(other.users.admin).not.toBe(users.admin);
    expect(certificate!.verify(new X509Certificate(readFileSync(other.tls.caFile)).publicKey)).toBe(false);
  });

  test('are others in a copy of the folder: no client takes its server for that of the original', async () => {
    const [original, copy] = [join(folder, 'original'), join(folder, 'copy')];
    const before = await storeSecrets(original);
    const server = await startEmbeddedEventStore({ folder: original, ...before });
    const store = connectEventStore(server);
    await store.append('run-1', newEvents(1), 'no_stream');
    await server.stop();
    cpSync(original, copy, { recursive: true });
    const ofCopy = await storeSecrets(copy);
    expect(await storeSecrets(original)).toEqual(before);
    expect(ofCopy.users.admin).not.toBe(before.users.admin);
    const port = Number(/:(\d+)\?/.exec(server.connectionString)![1]);
    const other = await startEmbeddedEventStore({ folder: copy, port, ...ofCopy });
    await expect(store.ping()).rejects.toMatchObject({ code: 'EVENT_STORE_UNAVAILABLE' });
    store.moveTo(other.connectionString);
    expect(await collect(store.read('run-1'))).toHaveLength(1);
    await store.close();
    await other.stop();
  });

  test('that were half made when the power went are made again', async () => {
    const place = join(folder, 'half');
    await storeSecrets(place);
    rmSync(join(place, 'secrets'), { recursive: true });
    writeFileSync(join(place, 'secrets.new'), '');
    await expect(storeSecrets(place)).resolves.toMatchObject({ users: { admin: expect.any(String) as string } });
  });

  test.each(['node.key', 'node.crt', 'ca.crt', 'users.json'])(
    'of which %s is damaged are told by that name, before anything listens',
    async (name) => {
      const place = join(folder, `damaged-${name}`);
      await storeSecrets(place);
      const file = join(place, 'secrets', name);
      for (const content of ['', 'no such thing', readFileSync(file).subarray(0, 40)]) {
        writeFileSync(file, content);
        const refused = expect(storeSecrets(place)).rejects;
        await refused.toMatchObject({ code: 'STORE_TLS_UNUSABLE', message: expect.stringContaining(file) as string });
        await refused.toThrow(`remove the folder ${join(place, 'secrets')}`);
      }
    },
  );

  test('of another store are not a pair', async () => {
    const [place, other] = [join(folder, 'one'), join(folder, 'another')];
    const { tls } = await storeSecrets(place);
    const foreign = await storeSecrets(other);
    writeFileSync(tls.caFile, readFileSync(foreign.tls.caFile));
    await expect(storeSecrets(place)).rejects.toThrow(`${tls.caFile} is not the authority`);
    writeFileSync(tls.keyFile, readFileSync(foreign.tls.keyFile));
    await expect(storeSecrets(place)).rejects.toThrow(`${tls.keyFile} is not the private key`);
  });

  test('that were removed as the error says are made again, and the store knows its users by them', async () => {
    const place = join(folder, 'again');
    const first = await startEmbeddedEventStore({ folder: place, ...(await storeSecrets(place)) });
    const before = connectEventStore(first);
    await before.append('run-1', newEvents(2), 'no_stream');
    await before.close();
    await first.stop();
    rmSync(join(place, 'secrets'), { recursive: true });
    const second = await startEmbeddedEventStore({ folder: place, ...(await storeSecrets(place)) });
    const after = connectEventStore(second);
    expect(await collect(after.read('run-1'))).toHaveLength(2);
    await after.close();
    await second.stop();
  });
});
