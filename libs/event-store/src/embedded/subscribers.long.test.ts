// Tests how much memory the embedded event store needs for many subscribers.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newEvents } from '../contract/tested-server.js';
import { connectEventStore, startEmbeddedEventStore } from '../index.js';

const folder = mkdtempSync(join(tmpdir(), 'event-store-subscribers-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('what the server holds for its subscribers does not grow with their number', async () => {
  const server = await startEmbeddedEventStore({ folder });
  const store = connectEventStore(server);
  const [subscribers, events, batch] = [200, 100, 50];
  await store.append('run', newEvents(1), 'no_stream');
  const subscriptions = Array.from({ length: subscribers }, () => store.subscribe('run', { after: 'start' })[Symbol.asyncIterator]());
  for (const one of subscriptions) while ((await one.next()).value.kind !== 'caughtUp');
  const residentMb = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))![1]) / 1024;
  const before = residentMb();
  let peak = before;
  const timer = setInterval(() => {
    peak = Math.max(peak, residentMb());
  }, 20);
  const reading = subscriptions.map(async (one) => {
    for (let revision = 1n; revision <= events; revision += 1n) expect((await one.next()).value.event.revision).toBe(revision);
  });
  for (let at = 0; at < events; at += batch) {
    const batched = newEvents(batch).map((event) => ({ ...event, data: Buffer.alloc(10 << 10, 'x') }));
    await store.append('run', batched, 'any');
  }
  await Promise.all(reading);
  clearInterval(timer);
  await store.close();
  await server.stop();
  // With a chunk of full size for each call, the peak was about 360.
  expect(peak - before).toBeLessThan(250);
});
