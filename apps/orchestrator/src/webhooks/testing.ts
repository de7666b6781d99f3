// For tests: a receiver with its own check of signatures, and an event store in memory.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { webcrypto } from 'node:crypto';
import type { EventStore, Position, StoredEvent, SubscriptionItem } from '#event-store';
import type { Notification } from './notifications.js';

export const SECRET = 'a secret of 24 characters';

/** The check that a receiver's owner would write after reading docs/monitoring.md. */
export async function isGenuine(secret: string, header: string, body: string): Promise<boolean> {
  const [, seconds, hex] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(header) ?? [];
  if (seconds === undefined || hex === undefined) return false;
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const key = await webcrypto.subtle.importKey('raw', bytes(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
  return webcrypto.subtle.verify('HMAC', key, Buffer.from(hex, 'hex'), bytes(`${seconds}.${body}`));
}

export interface Received {
  path: string;
  signature: string;
  body: string;
  told: Notification;
}

/** A receiver that answers by a script, and after that with 204. A request with a wrong signature gets 401 and has no other effect. */
export class Receiver {
  /** Every request with a right signature. */
  readonly received: Received[] = [];
  readonly script: ((response: ServerResponse) => void)[] = [];
  refused = 0;
  secret = SECRET;
  private readonly server: Server = createServer((request, response) => void this.answer(request, response));
  private changed: () => void = () => undefined;

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/hidden-path`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Resolves when the condition holds. It is checked after each request. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => (this.changed = resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    const signature = String(request.headers['espalier-signature']);
    if (await isGenuine(this.secret, signature, body)) {
      this.received.push({ path: request.url ?? '', signature, body, told: JSON.parse(body) as Notification });
      (this.script.shift() ?? ((answer) => answer.writeHead(204).end()))(response);
    } else {
      this.refused += 1;
      response.writeHead(401).end();
    }
    this.changed();
  }
}

export interface MemoryStore extends EventStore {
  /** Wakes the subscribers after events were added. */
  tell(): void;
  subscriptions: number;
}

/** A store with the given events, in their order. */
export function memoryStore(events: StoredEvent[]): MemoryStore {
  let wake: () => void = () => undefined;
  let added = new Promise<void>((resolve) => (wake = resolve));
  const tell = (): void => {
    wake();
    added = new Promise((resolve) => (wake = resolve));
  };
  const store = {
    tell,
    subscriptions: 0,
    async *read(stream: string, { from = 0n, maxCount = Infinity }: { from?: bigint; maxCount?: number }) {
      yield* events.filter((one) => one.stream === stream && one.revision >= from).slice(0, maxCount);
    },
    async *readAll({ streamPrefixes = [''] }: { streamPrefixes?: string[] }) {
      yield* events.filter((one) => streamPrefixes.some((prefix) => one.stream.startsWith(prefix))).slice(-1);
    },
    subscribeAll: ({ after, streamPrefixes = [''] }: { after: Position | 'start'; streamPrefixes?: string[] }) => {
      let isOpen = true;
      store.subscriptions += 1;
      return {
        close: () => {
          isOpen = false;
          tell();
          return Promise.resolve();
        },
        async *[Symbol.asyncIterator](): AsyncGenerator<Partial<SubscriptionItem>> {
          for (let at = 0; isOpen;) {
            if (at >= events.length) await added;
            for (; isOpen && at < events.length; at += 1) {
              const event = events[at]!;
              const isNew = after === 'start' || event.position.commit > after.commit;
              if (isNew && streamPrefixes.some((prefix) => event.stream.startsWith(prefix))) yield { kind: 'event', event };
            }
          }
        },
      };
    },
  };
  return store as unknown as MemoryStore;
}
