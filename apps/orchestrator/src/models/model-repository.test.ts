import { pino } from 'pino';
import type { EventStore, NewEvent, StoredEvent, SubscriptionItem } from '#event-store';
import { BY_SERVER } from '../event-sourcing/call-context.js';
import { ModelRepository } from './model-repository.js';

const DIGEST = 'a'.repeat(64);
const change = (path: string) =>
  ({ kind: 'recordSpeed', weightsDigest: DIGEST, path, speed: {} }) as unknown as Parameters<ModelRepository['change']>[0];

/** A store of one stream, whose subscriber takes up an event as soon as it is appended. */
function store() {
  const events: StoredEvent[] = [];
  let [reads, more]: [number, () => void] = [0, () => undefined];
  const held = {
    async *read(_stream: string, { from }: { from: 'start' | bigint }) {
      reads += 1;
      yield* events.slice(from === 'start' ? 0 : Number(from));
    },
    append: (stream: string, added: NewEvent[]) => {
      for (const event of added) events.push({ ...event, stream, revision: BigInt(events.length), position: {} } as unknown as StoredEvent);
      more();
      return Promise.resolve({ revision: BigInt(events.length - 1) });
    },
    subscribeAll: () => {
      async function* items(): AsyncGenerator<SubscriptionItem> {
        for (let at = 0, told = false; ;) {
          for (; at < events.length; at += 1) yield { kind: 'event', event: events[at]! };
          if (!told) yield { kind: 'caughtUp' };
          told = true;
          await new Promise<void>((resolve) => (more = resolve));
        }
      }
      return Object.assign(items(), { close: () => Promise.resolve() });
    },
  };
  return { store: held as unknown as EventStore, reads: () => reads };
}

test('a model is read from the store until the models are followed, and then is in memory, with each new value', async () => {
  const { store: held, reads } = store();
  const models = new ModelRepository(held, pino({ level: 'silent' }));
  await models.change(change('first'), { by: BY_SERVER });
  expect((await models.find(DIGEST))?.speeds).toHaveLength(1); // this question starts the feed
  await new Promise(setImmediate);
  const before = reads();
  expect((await models.find(DIGEST))?.speeds).toHaveLength(1);
  expect(await models.find('b'.repeat(64))).toBeNull();
  await models.change(change('second'), { by: BY_SERVER });
  expect((await models.find(DIGEST))?.speeds).toHaveLength(2);
  expect(reads()).toBe(before);
});
