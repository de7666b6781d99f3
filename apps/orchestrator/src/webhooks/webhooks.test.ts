// Tests receivers that fail, are slow, redirect or are gone, a server that restarts, a standby, and a disk that fills.
import { mkdtempSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tallies } from '../monitoring/tallies.js';
import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { fact, launched } from '../pruning-run/testing.js';
import { Recorder } from '../views/testing.js';
import { deliver, signatureOf } from './delivery.js';
import { isGenuine, memoryStore, Receiver, SECRET } from './testing.js';
import { WEBHOOK_EVENTS, type WebhookEvent } from './webhook-file.js';
import { Webhooks } from './webhooks.js';

const GB = 1e9;
const moment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
let folder: string;
let receiver: Receiver;
const started: Webhooks[] = [];
const stopped: Receiver[] = [];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'webhooks-'));
  receiver = await newReceiver();
});
afterEach(async () => {
  for (const webhooks of started.splice(0)) await webhooks.stop();
  for (const one of stopped.splice(0)) await one.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function newReceiver(): Promise<Receiver> {
  const one = await new Receiver().start();
  stopped.push(one);
  return one;
}

/** The part of a server that sends notifications. The test gives its runs as facts. */
class Server {
  readonly lines: [level: string, what: Record<string, unknown>, message: string][] = [];
  readonly tallies = new Tallies();
  readonly lease = { held: true };
  freeBytes = 100 * GB;
  webhooks!: Webhooks;

  constructor(
    readonly record = new Recorder(),
    readonly store = memoryStore(record.events),
  ) {}

  /** Resolves when the server reads the events from its beginning on. */
  async start(events: readonly WebhookEvent[] = WEBHOOK_EVENTS, attemptMs = 60_000): Promise<this> {
    const before = this.store.subscriptions;
    const level = (name: string) => (what: object, message: string) => void this.lines.push([name, what as never, message]);
    const log = { info: level('info'), warn: level('warn'), error: level('error') };
    const hook = { name: 'chat', url: receiver.url, secret: Buffer.from(SECRET), events: new Set(events) };
    const settings = { webhooks: [hook], diskFreeBytes: 10 * GB };
    const config = { dataFolder: folder, artifactFolder: folder };
    this.webhooks = new Webhooks(this.store, this.lease, this.tallies, config, settings, log as never);
    this.webhooks.times = { attemptMs, firstRetryMs: 2, lookMs: 20 };
    this.webhooks.room = () => Promise.resolve(this.freeBytes);
    started.push(this.webhooks);
    this.webhooks.start();
    while (this.store.subscriptions === before) await moment();
    return this;
  }

  /** Another process on the same data folder and event store. */
  async restarted(): Promise<Server> {
    await this.webhooks.stop();
    return new Server(this.record, this.store);
  }

  failedRun(runId: string, at = new Date().toISOString()): this {
    const now = (one: NewFact): NewFact => ({ ...one, at });
    this.record.record(
      runId,
      [launched({}, runId), fact('RunFailed', { step: 0, code: 'OUT_OF_MEMORY', message: 'm', field: '' })].map(now),
    );
    this.store.tell();
    return this;
  }

  /** The number of deliveries by outcome. */
  async deliveries(): Promise<Record<string, number>> {
    const { values } = await this.tallies.webhookDeliveries.get();
    return Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value]));
  }

  /** Resolves when the outbox is empty. */
  async idle(): Promise<void> {
    while (this.webhooks.waiting().some(([, count]) => count > 0)) await moment();
  }
}

const runsTold = (): (string | undefined)[] => receiver.received.map(({ told }) => told.run?.id);
const status =
  (code: number, headers = {}) =>
  (answer: ServerResponse) =>
    void answer.writeHead(code, headers).end();

it('given a receiver that fails twice, when a run fails, then it gets the same body again, and the log says each change once', async () => {
  receiver.script.push(status(500), status(503));
  const server = (await new Server().start()).failedRun('runaaaaaaaaa');
  await receiver.until(() => receiver.received.length >= 3);
  await server.idle();
  expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(1);
  expect(receiver.received[0]!.told).toMatchObject({
    event: 'run_failed',
    run: { id: 'runaaaaaaaaa', name: 'tiny' },
    figures: { step: 0 },
  });
  expect(await server.deliveries()).toEqual({ failed: 2, delivered: 1 });
  expect(server.lines).toEqual([
    ['warn', { webhook: 'chat', problem: 'the receiver answered with status 500' }, expect.any(String)],
    ['info', { webhook: 'chat' }, expect.any(String)],
  ]);
  expect(JSON.stringify(server.lines)).not.toMatch(/hidden|24 characters/);
});

it('a receiver that never answers is given up in time and called again; neither reading nor stopping waits for it', async () => {
  receiver.script.push(() => undefined);
  const server = (await new Server().start(['run_failed'], 300)).failedRun('runaaaaaaaaa');
  await receiver.until(() => receiver.received.length >= 2);
  await server.idle();
  expect(server.lines[0]).toEqual(['warn', { webhook: 'chat', problem: 'the receiver did not answer within 0.3 s' }, expect.any(String)]);
  const held = await (await server.restarted()).start();
  receiver.script.push(() => undefined);
  held.failedRun('runbbbbbbbbb');
  await receiver.until(() => runsTold().includes('runbbbbbbbbb'));
  await held.webhooks.stop();
  expect(await held.deliveries()).toEqual({});
  const last = await (await held.restarted()).start();
  await receiver.until(() => runsTold().filter((runId) => runId === 'runbbbbbbbbb').length >= 2);
  await last.idle();
  const again = receiver.received.filter(({ told }) => told.run?.id === 'runbbbbbbbbb'); // the receiver recognises it by its id
  expect(new Set(again.map(({ told }) => told.id)).size).toBe(1);
});

it('an answer without end is not read', async () => {
  const broken = new Promise<void>((resolve) => {
    receiver.script.push((answer) => {
      const write = (): void => {
        while (answer.write(Buffer.alloc(65_536)));
      };
      answer.writeHead(200).on('drain', write).once('close', resolve);
      write();
    });
  });
  const server = (await new Server().start()).failedRun('runaaaaaaaaa');
  await broken;
  await server.idle();
  expect(await server.deliveries()).toEqual({ delivered: 1 });
});

it('a redirect is not followed', async () => {
  const other = await newReceiver();
  receiver.script.push(status(307, { location: other.url }));
  const server = (await new Server().start()).failedRun('runaaaaaaaaa');
  await receiver.until(() => receiver.received.length >= 2);
  await server.idle();
  expect([other.received.length + other.refused, await server.deliveries()]).toEqual([0, { failed: 1, delivered: 1 }]);
});

it('given a receiver that is gone, when the server restarts, then each run is told once the receiver is back, and none twice', async () => {
  const first = (await new Server().start()).failedRun('runaaaaaaaaa');
  await receiver.until(() => receiver.received.length >= 1);
  await first.idle();
  const gone = new Promise<void>((resolve) => {
    receiver.script.push((answer) => {
      answer.destroy();
      resolve();
    });
  });
  for (let times = 0; times < 1_000; times += 1) receiver.script.push((answer) => void answer.destroy());
  first.failedRun('runbbbbbbbbb');
  await gone;
  const second = await first.restarted();
  receiver.script.length = 0;
  receiver.received.length = 0;
  await second.failedRun('runccccccccc').start(); // recorded while no server read
  await receiver.until(() => receiver.received.length >= 2);
  await second.idle();
  expect(runsTold().toSorted()).toEqual(['runbbbbbbbbb', 'runccccccccc']);
});

it('a first start tells nothing of former runs, nor does one on other events', async () => {
  const first = await new Server().failedRun('runaaaaaaaaa').start();
  first.failedRun('runbbbbbbbbb');
  await receiver.until(() => receiver.received.length >= 1);
  await first.idle();
  await first.webhooks.stop();
  const other = await new Server().failedRun('runccccccccc').start();
  other.failedRun('runddddddddd');
  await receiver.until(() => receiver.received.length >= 2);
  expect(runsTold()).toEqual(['runbbbbbbbbb', 'runddddddddd']);
});

it('a standby tells of its own disk only, and of runs once it drives', async () => {
  const server = new Server();
  server.lease.held = false;
  server.freeBytes = GB;
  await server.start();
  server.failedRun('runaaaaaaaaa');
  await receiver.until(() => receiver.received.length >= 1);
  expect(receiver.received[0]!.told).toMatchObject({ event: 'disk_nearly_full', run: null, figures: { folder: 'data', free_bytes: GB } });
  server.lease.held = true;
  await receiver.until(() => receiver.received.length >= 2);
  expect(runsTold()).toEqual([undefined, 'runaaaaaaaaa']);
});

it('a disk is told of when it gets nearly full, once, also across restarts, and again after it had room', async () => {
  const first = new Server();
  first.freeBytes = 9 * GB;
  await first.start();
  await receiver.until(() => receiver.received.length >= 1);
  await first.idle();
  const second = await first.restarted();
  second.freeBytes = 9 * GB;
  await second.start();
  for (const freeBytes of [9 * GB, 10.5 * GB, 9 * GB, 12 * GB, 8 * GB, 7 * GB]) {
    second.freeBytes = freeBytes;
    await second.webhooks.lookAtDisks();
  }
  await receiver.until(() => receiver.received.length >= 2);
  await second.idle();
  expect(receiver.received.map(({ told }) => told.figures['free_bytes'])).toEqual([9 * GB, 8 * GB]);
  expect(new Set(receiver.received.map(({ told }) => told.id)).size).toBe(2);
});

it('a notification of more than a day ago is given up, counted and logged once; later ones are told', async () => {
  const server = await new Server().start();
  const before = new Date(Date.now() - 25 * 3_600_000).toISOString();
  server.failedRun('runaaaaaaaaa', before).failedRun('runbbbbbbbbb', before).failedRun('runccccccccc');
  await receiver.until(() => receiver.received.length >= 1);
  await server.idle();
  expect(runsTold()).toEqual(['runccccccccc']);
  expect((await server.deliveries())['given_up']).toBe(2);
  expect(server.lines.filter(([level]) => level === 'error')).toHaveLength(1);
});

it('an event without its time is told', async () => {
  const server = (await new Server().start()).failedRun('runaaaaaaaaa', '');
  await receiver.until(() => receiver.received.length >= 1);
  await server.idle();
  expect(runsTold()).toEqual(['runaaaaaaaaa']);
});

it('a receiver is told only of its events', async () => {
  const server = await new Server().start(['disk_nearly_full', 'run_diverged']);
  server.failedRun('runaaaaaaaaa');
  server.freeBytes = GB;
  await server.webhooks.lookAtDisks();
  await receiver.until(() => receiver.received.length >= 1);
  await server.idle();
  expect(receiver.received.map(({ told }) => told.event)).toEqual(['disk_nearly_full']);
});

it('a wrong signature is refused: another secret, another body, another time', async () => {
  const signal = new AbortController().signal;
  const send = (secret: string) =>
    deliver({ url: receiver.url, secret: Buffer.from(secret) }, '{"id":"1"}', { nowMs: 0, attemptMs: 60_000, signal });
  expect(await send('another secret of 32 characters.')).toBe('the receiver answered with status 401');
  expect([receiver.refused, receiver.received.length]).toEqual([1, 0]);
  expect(await send(SECRET)).toBeNull();
  // Made by: printf '1700000000.{"id":"1"}' | openssl dgst -sha256 -hmac 'a secret of 24 characters'
  const header = signatureOf(Buffer.from(SECRET), '{"id":"1"}', 1_700_000_000);
  expect(header).toBe('t=1700000000,v1=5e6a0104f8f5c2606d3b281d79c2ebddc203f8b42b6fe60611cddb83b16f9575');
  expect(await isGenuine(SECRET, header, '{"id":"1"}')).toBe(true);
  expect(await isGenuine(SECRET, header, '{"id":"2"}')).toBe(false);
  expect(await isGenuine(SECRET, header.replace('t=17', 't=18'), '{"id":"1"}')).toBe(false);
});
