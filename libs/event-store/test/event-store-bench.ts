import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectEventStore, startEmbeddedEventStore, type EventStore, type NewEvent } from '../src/index.js';

/**
 * Measures the event store; run by hand: `node dist/libs/event-store/test/event-store-bench.js [--catch-up N] [--folder DIR]`. It runs on
 * the embedded server, or on the cluster that ESPALIER_EVENT_STORE_URL names.
 */
const PAYLOAD = { step: 1000, loss: 2.345678, sparsity: 0.4321, teacher: 'mark-12', digest: 'f'.repeat(64) };

function newEvent(index = 0): NewEvent {
  return { id: randomUUID(), type: 'MasksUpdated', data: Buffer.from(JSON.stringify({ ...PAYLOAD, index })) };
}

function newEvents(count: number): NewEvent[] {
  return Array.from({ length: count }, (_, index) => newEvent(index));
}

function report(name: string, figures: Record<string, number>): void {
  const text = Object.entries(figures).map(([key, value]) => `${key} ${value >= 100 ? Math.round(value) : value.toFixed(2)}`);
  console.log(`${name.padEnd(34)} ${text.join('  ')}`);
}

function percentiles(samples: number[]): Record<string, number> {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) };
}

async function appendLatency(store: EventStore): Promise<void> {
  const stream = `bench-latency-${randomUUID()}`;
  for (let i = 0; i < 200; i += 1) await store.append(stream, [newEvent()], 'any');
  const samples: number[] = [];
  for (let i = 0; i < 2000; i += 1) {
    const start = performance.now();
    await store.append(stream, [newEvent()], 'any');
    samples.push(performance.now() - start);
  }
  report('append, awaited', percentiles(samples));
}

async function appendThroughput(store: EventStore): Promise<void> {
  const total = 10_000;
  let left = total;
  const writer = async (id: number) => {
    const stream = `bench-throughput-${id}-${randomUUID()}`;
    while (left-- > 0) await store.append(stream, [newEvent()], 'any');
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: 64 }, (_, id) => writer(id)));
  report('append, 64 in flight', { per_second: total / ((performance.now() - start) / 1000) });
}

async function appendBatches(store: EventStore): Promise<void> {
  const batches = Array.from({ length: 60 }, () => newEvents(500));
  const stream = `bench-batches-${randomUUID()}`;
  const start = performance.now();
  for (const batch of batches) await store.append(stream, batch, 'any');
  report('append, batches of 500', { events_per_second: (60 * 500) / ((performance.now() - start) / 1000) });
}

async function readTenThousand(store: EventStore): Promise<void> {
  const stream = `bench-read-${randomUUID()}`;
  for (let i = 0; i < 20; i += 1) await store.append(stream, newEvents(500), 'any');
  const samples: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const start = performance.now();
    let count = 0;
    for await (const _ of store.read(stream)) count += 1;
    if (count !== 10_000) throw new Error(`read ${count} events`);
    samples.push(performance.now() - start);
  }
  report('read 10,000 events', { median_ms: samples.sort((a, b) => a - b)[2]! });
}

async function liveDelivery(store: EventStore): Promise<void> {
  const stream = `bench-live-${randomUUID()}`;
  const samples: number[] = [];
  let sentAt = 0;
  const subscription = store.subscribe(stream, { after: 'start' });
  const items = subscription[Symbol.asyncIterator]();
  for (let next = await items.next(); next.done !== true && next.value.kind !== 'caughtUp';) next = await items.next();
  for (let i = 0; i < 1000; i += 1) {
    sentAt = performance.now();
    const appended = store.append(stream, [newEvent()], 'any');
    await items.next();
    samples.push(performance.now() - sentAt);
    await appended;
  }
  await subscription.close();
  report('append to delivery, live', percentiles(samples));
}

async function catchUp(store: EventStore, total: number): Promise<void> {
  const prefix = `bench-catchup-${randomUUID()}`;
  for (let done = 0; done < total;) {
    const count = Math.min(2000, total - done);
    await store.append(`${prefix}-${done % 7}`, newEvents(count), 'any');
    done += count;
  }
  const start = performance.now();
  let count = 0;
  const subscription = store.subscribeAll({ after: 'start', streamPrefixes: [prefix] });
  for await (const item of subscription) {
    if (item.kind === 'event') count += 1;
    if (item.kind === 'caughtUp' || count === total) break;
  }
  const seconds = (performance.now() - start) / 1000;
  report(`catch-up over ${total} events`, { seconds, events_per_second: count / seconds });
}

async function main(): Promise<void> {
  const option = (name: string) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
  const url = process.env['ESPALIER_EVENT_STORE_URL'];
  const folder = option('--folder') ?? mkdtempSync(join(tmpdir(), 'event-store-bench-'));
  const server = url ? undefined : await startEmbeddedEventStore({ folder });
  const store = connectEventStore({ connectionString: url ?? server!.connectionString });
  try {
    const total = Number(option('--catch-up') ?? 0);
    if (total > 0) {
      await catchUp(store, total);
    } else {
      for (const bench of [appendLatency, appendThroughput, appendBatches, readTenThousand, liveDelivery]) await bench(store);
    }
  } finally {
    await store.close();
    await server?.stop();
    if (!option('--folder')) rmSync(folder, { recursive: true, force: true });
  }
}

await main();
