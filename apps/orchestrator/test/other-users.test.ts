// Tests that other users of the machine can do nothing with a server, even under the loosest umask.
import { randomUUID } from 'node:crypto';
import { chmodSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ChannelCredentials } from '@grpc/grpc-js';
import { connectEventStore, storeSecrets } from '#event-store';
import { bearerToken, v1 } from '#protocol';
import { codeOf, TestServer, unary } from './harness/server.js';

let server: TestServer;
let usualUmask: number;

beforeAll(async () => {
  usualUmask = process.umask(0);
  server = TestServer.inNewFolder();
  await server.start();
  await server.completed((await server.launch({ totalSteps: 30 })).runId);
});
afterAll(async () => {
  process.umask(usualUmask);
  await server.dispose();
});

const list = (options: object): Promise<string> => {
  const client = new v1.RunServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), options);
  return unary<v1.ListRunsResponse>((done) => client.listRuns(v1.ListRunsRequest.fromPartial({}), done))
    .then(({ total }) => `${total} runs`, codeOf)
    .finally(() => client.close());
};

const loose = (): string[] =>
  everythingBelow(server.dataFolder)
    .filter((path) => (lstatSync(path).mode & 0o077) !== 0)
    .map((path) => path.slice(server.dataFolder.length));

describe('the data folder', () => {
  it('and all in it are for the owner only, while it runs too', () => {
    expect(everythingBelow(server.dataFolder).length).toBeGreaterThan(20);
    // The test itself opened the log, under its own umask.
    expect(loose().filter((path) => path !== '/server.log')).toEqual([]);
  });
});

describe("the orchestrator's port", () => {
  it('wants the token', async () => {
    expect(await list({})).toBe('TOKEN_NEEDED');
    expect(await list(bearerToken('x'.repeat(43)))).toBe('TOKEN_WRONG');
    expect(await list(bearerToken(server.token))).toBe('1 runs');
  });
});

const address = (): string => readFileSync(server.storeAddressFile, 'utf8').trim();

describe('the embedded event store', () => {
  const isWritten = async (connectionString: string): Promise<boolean> => {
    const store = connectEventStore({ connectionString });
    const event = { id: randomUUID(), type: 'Foreign', data: Buffer.from('{}') };
    try {
      await store.append('foreign', [event], 'any');
      return true;
    } catch {
      return false;
    } finally {
      await store.close();
    }
  };

  it('says in a file of the owner how it is reached', async () => {
    expect(statSync(server.storeAddressFile).mode & 0o777).toBe(0o600);
    expect(await isWritten(address())).toBe(true);
  });

  it.each([
    ['nothing', '', 'tls=false'],
    ['no password', '', 'tls=true&tlsVerifyCert=false'],
    ['the password that is well known', 'admin:changeit@', 'tls=true&tlsVerifyCert=false'],
    ['that of the other user', 'ops:changeit@', 'tls=true&tlsVerifyCert=false'],
  ])('takes nothing from a client that shows %s', async (_, login, query) => {
    const { port } = new URL(address().replace('kurrentdb:', 'http:'));
    expect(await isWritten(`kurrentdb://${login}localhost:${port}?${query}&maxDiscoverAttempts=1`)).toBe(false);
  });

  it('is not taken for another that answers in its place', async () => {
    const { port, username, password } = new URL(address().replace('kurrentdb:', 'http:'));
    const other = await storeSecrets(join(server.dataFolder, 'engine'));
    const authority = encodeURIComponent(other.tls.caFile);
    expect(
      await isWritten(`kurrentdb://${username}:${password}@localhost:${port}?tls=true&tlsCAFile=${authority}&maxDiscoverAttempts=1`),
    ).toBe(false);
  });
});

describe('a server that is started again', () => {
  let before: { token: string | null; store: string };
  beforeAll(async () => {
    before = { token: server.token, store: address() };
    await server.stop();
    for (const path of everythingBelow(server.dataFolder)) chmodSync(path, statSync(path).mode | 0o066);
    await server.start();
  });

  it('tightens a data folder that is open to others', () => {
    expect(loose()).toEqual([]);
    expect((statSync(server.dataFolder).mode & 0o777).toString(8)).toBe('700');
  });

  it('takes another token, so that the token that another user has seen opens nothing', async () => {
    expect(await list(bearerToken(before.token))).toBe('TOKEN_WRONG');
    expect(await list(bearerToken(server.token))).toBe('1 runs');
  });

  it('has its event store reached in the same way, by those that stand by', () => {
    expect(address()).toBe(before.store);
  });

  it('takes every user with --open-loopback', async () => {
    await server.stop();
    server = new TestServer(server.dataFolder, { ESPALIER_OPEN_LOOPBACK: 'true' });
    await server.start();
    expect(await list({})).toBe('1 runs');
  });
});

function everythingBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
}
