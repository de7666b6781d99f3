import { setTimeout as sleep } from 'node:timers/promises';
import { EventStoreUnavailableError } from '#event-store';
import { DriverLease } from './driver-lease.js';

const quiet = { info: () => undefined, warn: () => undefined } as never;

test('a driver that is cut off from its store says so, and does not name itself as the other driver', async () => {
  let [now, isReached] = [0, true];
  const reached = (): void => {
    if (!isReached) throw new EventStoreUnavailableError('the event store is not available');
  };
  const store = {
    async *read() {
      await Promise.resolve();
      reached();
      yield* [];
    },
    append: async () => {
      await Promise.resolve();
      reached();
      return { revision: 0n };
    },
    keepNewest: () => Promise.resolve(),
  };
  const lease = new DriverLease({ store: store as never, folderId: 'f', leaseMs: 30, log: quiet, ownsStore: false, clock: () => now });
  await lease.start();
  expect(lease.held).toBe(true);
  isReached = false;
  now = 1_000;
  while (lease.held) await sleep(5);
  const { message, metadata } = lease.standby();
  expect(message).toContain('could not reach its event store');
  expect(message).not.toContain(`process ${process.pid}`);
  expect(metadata).toEqual({});
  await lease.stop();
});
