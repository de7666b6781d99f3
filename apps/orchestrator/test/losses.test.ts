// Tests that a data folder does not open with the event store of another. Stores that were lost, cut or restored are in
// losses.long.test.ts.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedEventStore } from '#event-store';
import type { v1 } from '#protocol';
import { collect, TestServer, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
const states = (): string[] =>
  readdirSync(join(server.dataFolder, 'artifacts/objects'), { recursive: true })
    .map(String)
    .filter((name) => /[0-9a-f]{64}$/.test(name))
    .sort();

async function isWhole(): Promise<void> {
  expect(await unary<v1.GetStoreConditionResponse>((done) => server.history.getStoreCondition({}, done))).toMatchObject({
    missingEvents: undefined,
    availableBytes: expect.any(BigInt) as bigint,
  });
  expect((await collect(server.history.verifyAll({}))).at(-1)!.summary!.problems).toEqual([]);
}

beforeAll(async () => {
  await server.start();
  await server.completed((await server.launch({}, { name: 'first' })).runId);
  await server.stop();
});
afterAll(() => server.dispose());

test('another event store is refused, and nothing goes', async () => {
  const before = states();
  const folder = mkdtempSync(join(tmpdir(), 'espalier-other-store-'));
  const other = await startEmbeddedEventStore({ folder });
  try {
    const onOther = new TestServer(server.dataFolder, { ESPALIER_EVENT_STORE: other.connectionString });
    await expect(onOther.start()).rejects.toThrow(/serves event store .* --accept-store .*ARTIFACTS_OF_ANOTHER_STORE/);
    const named = TestServer.inNewFolder({ ESPALIER_EVENT_STORE: other.connectionString });
    await named.start();
    await named.dispose();
    await expect(onOther.start()).rejects.toThrow('ARTIFACTS_OF_ANOTHER_STORE');
  } finally {
    await other.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  expect(states()).toEqual(before);
  await server.start();
  await isWhole();
  await server.stop();
});
