// Tests that the loss of a store's last events is reported, and that events which were seen in it stay remembered.
import type { EventStore, SeenEvent, StoredEvent } from '#event-store';
import { StoreCondition } from './store-condition.js';

const event = (revision: bigint): SeenEvent => ({ position: revision * 100n, stream: 'run', revision, id: `id ${revision}` });
let stored: SeenEvent[];
let noted: SeenEvent[];
let logged: string[];

async function* read(from: bigint): AsyncGenerator<StoredEvent> {
  await Promise.resolve();
  yield* stored.filter(({ revision }) => revision === from) as unknown as StoredEvent[];
}
async function* readAll(): AsyncGenerator<StoredEvent> {
  await Promise.resolve();
  yield* stored.slice(-1).map(({ position }) => ({ position: { commit: position, prepare: position } }) as StoredEvent);
}

function conditionOf(): StoreCondition {
  const store = { read: (_stream: string, { from }: { from: bigint }) => read(from), readAll } as unknown as EventStore;
  const seen = {
    get last() {
      return noted.at(-1) ?? null;
    },
    note: (one: SeenEvent) => void noted.push(one),
  };
  const log = { error: (_facts: object, text: string) => void logged.push(text), info: () => undefined };
  return new StoreCondition(store, 'a store', seen, null, log as never);
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  [stored, noted, logged] = [[event(1n), event(2n)], [], []];
});

test('one that comes back whole is as before', async () => {
  const condition = conditionOf();
  condition.note(event(2n));
  condition.answers(false);
  condition.note(event(3n)); // the event was stored before the outage was noticed
  condition.answers(true);
  await settled();
  expect(condition.missing).toBeNull();
  condition.requireWhole();
  expect(logged).toEqual([]);
});

test('one that lost its tail is told once; nothing may be thrown away, and the lost event is not forgotten for newer ones', async () => {
  const condition = conditionOf();
  condition.note(event(2n));
  condition.answers(false);
  stored = [event(1n)];
  condition.answers(true);
  await settled();
  expect(condition.missing).toEqual({ seen: event(2n), endPosition: 100n });
  expect(logged).toEqual([expect.stringMatching(/seen position 200 .*the event store ends at 100; nothing is thrown away/)]);
  expect(() => condition.requireWhole()).toThrow(expect.objectContaining({ code: 'EVENTS_MISSING' }) as Error);
  condition.note(event(9n));
  expect(noted).toEqual([event(2n)]);
});
