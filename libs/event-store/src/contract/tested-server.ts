import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { KurrentDBClient, jsonEvent } from '@kurrent/kurrentdb-client';
import { startEmbeddedEventStore, type NewEvent } from '../index.js';

const HANGS_AFTER_MS = 120_000;

/**
 * The server under test: the cluster that ESPALIER_EVENT_STORE_URL names, or else a new embedded server. Names of streams and groups are
 * unique, so a cluster that is in use can be tested too.
 */
export interface Target {
  connectionString: string;
  client(): KurrentDBClient;
  stop(): Promise<void>;
}

export async function startTarget(): Promise<Target> {
  const clients: KurrentDBClient[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'event-store-contract-'));
  const url = process.env['ESPALIER_EVENT_STORE_URL'];
  const server = url ? undefined : await startEmbeddedEventStore({ folder });
  const connectionString = url ?? server!.connectionString;
  return {
    connectionString,
    client: () => {
      const client = KurrentDBClient.connectionString(connectionString);
      clients.push(client);
      return client;
    },
    stop: async () => {
      for (const client of clients) await client.dispose();
      await server?.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function uniqueName(prefix: string): string {
  return `${prefix}-${randomUUID()}`;
}

export function events(count: number, type = 'Tested'): ReturnType<typeof jsonEvent>[] {
  return Array.from({ length: count }, (_, index) => jsonEvent({ type, data: { index } }));
}

export function newEvents(count: number, type = 'Tested'): NewEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    id: randomUUID(),
    type,
    data: Buffer.from(`{"index":${index}}`),
  }));
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Returns the first `count` items. The iteration ends after them. */
export async function take<T>(items: AsyncIterable<T>, count: number): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) {
    all.push(item);
    if (all.length >= count) break;
  }
  return all;
}

/** Waits until the condition is true. The limit only catches a condition that never becomes true; it does not test speed. */
export async function eventually(check: () => Promise<boolean> | boolean): Promise<void> {
  const end = Date.now() + HANGS_AFTER_MS;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not so within ${HANGS_AFTER_MS} ms: ${check.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
