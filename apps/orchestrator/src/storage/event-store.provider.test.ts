import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EventStoreHost } from './event-store.provider.js';

const said: string[] = [];
const say = (facts: object, words?: string): void => void said.push(`${words}: ${JSON.stringify(facts)}`);
const log = { warn: say, error: say } as never;
const one = (type: string) => [{ id: randomUUID(), type, data: Buffer.from('{}') }];

describe('an embedded event store that dies while another program has its port', () => {
  const dataFolder = mkdtempSync(join(tmpdir(), 'event-store-host-'));
  const addressFile = join(dataFolder, 'event-store.url');
  const portNow = (): string => /:(\d+)\?/.exec(readFileSync(addressFile, 'utf8'))![1]!;
  let taken: Server;
  let [host, standby]: (EventStoreHost | undefined)[] = [];
  afterAll(async () => {
    await standby?.close();
    await host?.close();
    taken.close();
    rmSync(dataFolder, { recursive: true });
  });

  it('is started at any free port: its own server and those who stand by go on with it', async () => {
    host = await EventStoreHost.open({ dataFolder } as never, log);
    standby = await EventStoreHost.open({ dataFolder, eventStore: addressFile } as never, log);
    await host.store.append('stream', one('First'), 'no_stream');
    const seen = standby.store.subscribe('stream', { after: 'start' })[Symbol.asyncIterator]();
    const nextType = async (): Promise<string> => {
      for (;;) {
        const item = (await seen.next()).value;
        if (item?.kind === 'event') return item.event.type;
      }
    };
    expect(await nextType()).toBe('First');

    taken = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const takenPort = String((taken.address() as AddressInfo).port);
    writeFileSync(addressFile, readFileSync(addressFile, 'utf8').replace(portNow(), takenPort)); // as if the store had had that port
    process.kill(host.pid!, 'SIGKILL');
    const second = one('Second'); // repeated under one id, since the outcome of an append may be unknown
    const answers = (): Promise<boolean> =>
      host!.store.append('stream', second, 0n).then(
        () => true,
        () => false,
      );
    while (!(await answers())) await sleep(50);
    expect(portNow()).not.toBe(takenPort);
    expect(await nextType()).toBe('Second');
    await seen.return?.();
  });
});

describe('an embedded event store that hangs', () => {
  const dataFolder = mkdtempSync(join(tmpdir(), 'event-store-hangs-'));
  let host: EventStoreHost;
  afterAll(async () => {
    await host.close();
    rmSync(dataFolder, { recursive: true });
  });

  it('is ended and started again, the log says why, and the server goes on by a client that finds the new one', async () => {
    host = await EventStoreHost.open({ dataFolder } as never, log);
    await host.store.append('stream', one('First'), 'no_stream');
    await sleep(2_500); // an append that was answered counts as an answer
    const hanging = host.pid!;
    const { store } = host;
    const asked = store.append('stream', one('Second'), 0n).catch(() => undefined);
    process.kill(hanging, 'SIGSTOP');
    while (host.pid === hanging) await sleep(50);
    expect(said.filter((line) => line.includes(`"pid":${hanging}`))).toEqual([
      `the event store does not answer: {"pid":${hanging},"problem":"it does not answer within 5 s"}`,
      `the event store hangs and is started again: {"pid":${hanging}}`,
    ]);
    await asked;
    expect(host.store).toBe(store);
    await store.append('stream', one('Third'), 'any');
  });
});
