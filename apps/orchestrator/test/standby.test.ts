// Tests two orchestrators on one event store, as on two machines: each has its own data folder, one drives, and one stands by. Deaths are
// in standby.long.test.ts.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectEventStore, startEmbeddedEventStore, type EmbeddedEventStore } from '#event-store';
import type { EspalierError } from '#protocol';
import { DriverLease } from '../src/storage/driver-lease.js';
import { codeOf, TestServer } from './harness/server.js';
import { refusal, RUN, TwoServers, untilDriving } from './harness/standby.js';

describe('two orchestrators on one event store', () => {
  const two = new TwoServers();

  beforeAll(() => two.start());
  afterAll(() => two.dispose());

  it('lets the second stand by: it answers questions, and says who drives where it is asked for more', async () => {
    const [driver, standby] = two.servers as [TestServer, TestServer];
    const { runId } = await driver.launch(RUN);
    await driver.until(runId, ({ step }) => step > 0n);
    const error = await refusal(standby.launch(RUN));
    expect(codeOf(error)).toBe('ORCHESTRATOR_STANDBY');
    expect((error as EspalierError).message).toContain(`process ${driver.pid}`);
    expect((error as EspalierError).message).toContain(driver.listenAddress);
    const seen = await standby.until(runId, ({ step }) => step > 0n);
    expect(seen.attempt).toBe(1);
    const done = await standby.completed(runId);
    expect(done.restarts).toBe(0);
    two.undisturbed = done.stateDigest;
  });

  it('takes over at once from a driver that is stopped in good order', async () => {
    const [driver, standby] = two.servers as [TestServer, TestServer];
    const { runId } = await driver.launch(RUN);
    await driver.until(runId, ({ step }) => step >= 20n);
    expect(await driver.stop()).toBe(0);
    await untilDriving(standby);
    const store = connectEventStore(two.eventStore);
    const lease: string[] = [];
    for await (const { type } of store.read('espalierDriver')) lease.push(type);
    await store.close();
    const releasedAt = lease.lastIndexOf('DrivingReleased'); // otherwise the standby would have waited for the end of the lease
    expect(lease[releasedAt + 1]).toBe('DrivingTaken');
    expect(lease.slice(releasedAt + 2)).not.toContain('DrivingTaken');
    expect((await standby.completed(runId)).stateDigest).toBe(two.undisturbed);
  });
});

describe('the lease of the driver', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-lease-'));
  let eventStore: EmbeddedEventStore;
  beforeAll(async () => {
    eventStore = await startEmbeddedEventStore({ folder });
  });
  afterAll(async () => {
    await eventStore.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is had by exactly one of many that ask at the same moment, and by the next when it is given back', async () => {
    const stores = Array.from({ length: 6 }, () => connectEventStore(eventStore));
    const quiet = { info: () => undefined, warn: () => undefined } as never;
    const leases = stores.map(
      (store, index) => new DriverLease({ store, folderId: `folder ${index}`, leaseMs: 6_000, log: quiet, ownsStore: false }),
    );
    await Promise.all(leases.map((lease) => lease.start()));
    for (let left = leases.slice(); left.length > 0;) {
      for (const until = Date.now() + 240_000; !left.some(({ held }) => held) && Date.now() < until;)
        await new Promise((resolve) => setTimeout(resolve, 20));
      const holders = left.filter(({ held }) => held);
      expect(holders).toHaveLength(1);
      await holders[0]!.stop();
      left = left.filter((one) => one !== holders[0]);
    }
    for (const store of stores) await store.close();
  });

  it('passes at once to the owner of the store, whichever server owned it before it was copied', async () => {
    const stores = Array.from({ length: 3 }, () => connectEventStore(eventStore));
    const quiet = { info: () => undefined, warn: () => undefined } as never;
    const leases = stores.map(
      (store, index) => new DriverLease({ store, folderId: `owner ${index}`, leaseMs: 60_000, log: quiet, ownsStore: index < 2 }),
    );
    for (const lease of leases) await lease.start();
    expect(leases[1]!.held).toBe(true);
    expect(leases[2]!.held).toBe(false);
    for (const lease of leases) await lease.stop();
    const next = new DriverLease({ store: stores[0]!, folderId: 'owner 3', leaseMs: 60_000, log: quiet, ownsStore: true });
    await next.start();
    expect(next.held).toBe(true);
    await next.stop();
    for (const store of stores) await store.close();
  });

  it('is no longer sure once its time may have run out, though a process that was asleep has not heard of it', async () => {
    const store = connectEventStore(eventStore);
    const quiet = { info: () => undefined, warn: () => undefined } as never;
    let now = 0;
    // An owner's lease is ten minutes long.
    const lease = new DriverLease({ store, folderId: 'asleep', leaseMs: 60_000, log: quiet, ownsStore: true, clock: () => now });
    await lease.start();
    expect([lease.held, lease.isSurelyHeld]).toEqual([true, true]);
    now += 590_000; // other processes may count from a little earlier, and an act takes time
    expect([lease.held, lease.isSurelyHeld]).toEqual([true, false]);
    await lease.lookAgain(); // renews the lease
    expect(lease.isSurelyHeld).toBe(true);
    now += 590_000;
    expect(lease.isSurelyHeld).toBe(false);
    await lease.stop();
    await store.close();
  });
});
