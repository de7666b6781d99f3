// A whole run on a cluster of the event store that plays faults: cut connections, lost answers, leaders that step down or are gone.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedEventStore, type EmbeddedEventStore } from '#event-store';
import type { v1 } from '#protocol';
import { FaultyCluster } from '../../../libs/event-store/src/testing/faulty-cluster.js';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, isOver, TestServer } from './harness/server.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-faulty-store-'));
let embedded: EmbeddedEventStore;
let cluster: FaultyCluster;
let server: TestServer;

beforeAll(async () => {
  embedded = await startEmbeddedEventStore({ folder });
  cluster = await FaultyCluster.start(embedded.connectionString);
  server = TestServer.inNewFolder({ ESPALIER_EVENT_STORE: cluster.connectionString() });
  await server.start();
});
afterAll(async () => {
  await server.dispose();
  await cluster.stop();
  await embedded.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('a run goes through all faults of the store by itself, and ends in the bits and with the record of an undisturbed one', async () => {
  const undisturbed = await server.completed((await server.launch({})).runId);
  const faults: (() => unknown)[] = [
    () => cluster.leading.atNextAppend('cut-after-commit'),
    () => cluster.leading.atNextAppend('cut-before'),
    () => cluster.lead(cluster.nodes[1]!),
    () => cluster.leading.dropSubscriptions('unavailable'),
    async () => (await cluster.loseLeader()).start(),
    () => cluster.leading.dropSubscriptions('end'),
    () => cluster.leading.cut(),
  ];
  // On a fast machine a run may be over before it has met all of them: the next one meets the rest.
  const launched: string[] = [];
  for (let run: v1.Run | undefined; faults.length > 0;) {
    if (run === undefined) launched.push((await server.launch({})).runId);
    const before = run?.step ?? 0n;
    run = await server.until(launched.at(-1)!, (now) => now.step > before || isOver(now), CLOSELY_MS);
    if (isOver(run)) run = undefined;
    else await faults.shift()!();
  }
  for (const runId of launched) {
    expect((await server.completed(runId)).stateDigest).toBe(undisturbed.stateDigest);
    expect(recordProblems(await server.events(runId))).toEqual([]);
  }
});
