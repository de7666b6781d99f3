// Tests the only writer of runs on a store that can't write for a while.
import { setTimeout as sleep } from 'node:timers/promises';
import { EventStoreError, type EventStore, type NewEvent } from '#event-store';
import { Tallies } from '../monitoring/tallies.js';
import { RunRepository } from './run-repository.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { CHAIN_START, chainProblem, decodeStored } from './record/stored-event.js';
import { launched } from './testing.js';

const RUN = 'aaaabbbbcccc';
const by = BY_SERVER;
const launch = { kind: 'launch', ...(launched({}, RUN).data as object) } as never;

/** An event store that remembers what was appended and can act as if its disk were full. */
function storeOn(disk: { isFull: boolean }): { store: EventStore; appended: NewEvent[] } {
  const appended: NewEvent[] = [];
  const store = {
    async *read() {
      // the stream is empty before the launch
    },
    append: (_stream: string, events: NewEvent[]) => {
      if (disk.isFull) return Promise.reject(new EventStoreError('STORE_DISK_FULL', 'no space is left (folder /data/event-store)'));
      appended.push(...events);
      return Promise.resolve({ revision: BigInt(appended.length - 1) });
    },
  };
  return { store: store as unknown as EventStore, appended };
}

test('a change that waits for room holds up no caller that will not wait, and is made as soon as there is room', async () => {
  const disk = { isFull: false };
  const { store, appended } = storeOn(disk);
  const runs = new RunRepository(store, new Tallies());
  await runs.change(RUN, launch, { by });
  disk.isFull = true;
  const waits: Error[] = [];
  const patient = runs.change(
    RUN,
    { kind: 'startAttempt', attempt: 1 },
    { by, retryForMs: Infinity, onWait: (error) => waits.push(error) },
  );
  while (waits.length === 0) await sleep(10);
  await expect(runs.change(RUN, { kind: 'requestPause' }, { by, retryForMs: 3_600_000 })).rejects.toMatchObject({
    code: 'STORE_DISK_FULL',
  });
  disk.isFull = false;
  await patient;
  await runs.change(RUN, { kind: 'requestPause' }, { by });
  expect(appended.map(({ type }) => type)).toEqual(['RunLaunched', 'AttemptStarted', 'RunPauseRequested']);
});

test('a caller that need not wait any longer hears the cause of the wait', async () => {
  const disk = { isFull: true };
  const runs = new RunRepository(storeOn(disk).store, new Tallies());
  const enough = new AbortController();
  const change = runs.change(RUN, launch, { by, retryForMs: Infinity, signal: enough.signal });
  enough.abort();
  await expect(change).rejects.toMatchObject({ code: 'STORE_DISK_FULL' });
});

test('each fact says which caller asked for it, and the chain covers that', async () => {
  const { store, appended } = storeOn({ isFull: false });
  const runs = new RunRepository(store, new Tallies());
  const asked = { actor: 'ada', roles: ['owner'], requestId: 'r-1' };
  await runs.change(RUN, launch, { by: asked });
  await runs.change(RUN, { kind: 'requestPause' }, { by });
  expect(appended.map((one) => decodeStored(one).context)).toEqual([asked, BY_SERVER]);
  const launchedByAnother = {
    ...appended[0]!,
    data: Buffer.from(Buffer.from(appended[0]!.data).toString().replace('"ada"', '"eve"')),
  };
  expect(chainProblem(CHAIN_START, appended[0]!)).toBeNull();
  expect(chainProblem(CHAIN_START, launchedByAnother)).not.toBeNull();
});
