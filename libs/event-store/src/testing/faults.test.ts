// Tests the official client, and this library's client over it, with the faults of a cluster that a stand-in plays.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KurrentDBClient } from '@kurrent/kurrentdb-client';
import { newAuthority, signedBy, type Signed } from '#local-access';
import { collect, eventually, newEvents, take, uniqueName } from '../contract/tested-server.js';
import {
  connectEventStore,
  EventStoreUnavailableError,
  startEmbeddedEventStore,
  type ConnectedEventStore,
  type EmbeddedEventStore,
  type NewEvent,
  type SubscriptionItem,
} from '../index.js';
import { FaultyCluster, type Drop } from './faulty-cluster.js';

const folder = mkdtempSync(join(tmpdir(), 'event-store-faults-'));
const open: { close(): Promise<void> }[] = [];
let embedded: EmbeddedEventStore;
let cluster: FaultyCluster;

beforeAll(async () => {
  embedded = await startEmbeddedEventStore({ folder });
});
beforeEach(async () => {
  cluster = await FaultyCluster.start(embedded.connectionString);
});
afterEach(async () => {
  for (const store of open.splice(0)) await store.close();
  await cluster.stop();
});
afterAll(async () => {
  await embedded.stop();
  rmSync(folder, { recursive: true, force: true });
});

function connected(connectionString = cluster.connectionString()): ConnectedEventStore {
  const store = connectEventStore({ connectionString });
  open.push(store);
  return store;
}

/** Appends as the rest of Espalier does: while the store is not available, it tries again with the same ids. */
async function persistently(append: () => Promise<{ revision: bigint }>): Promise<{ revision: bigint; tries: number }> {
  for (let tries = 1; ; tries += 1) {
    try {
      return { ...(await append()), tries };
    } catch (error) {
      if (!(error instanceof EventStoreUnavailableError) || tries > 50) throw error;
    }
  }
}

const idsIn = async (store: ConnectedEventStore, stream: string): Promise<string[]> =>
  (await collect(store.read(stream))).map(({ id }) => id);
const ids = (events: NewEvent[]): string[] => events.map(({ id }) => id);

describe('an append', () => {
  it('that the store has, but whose answer was lost with the connection, is found on the next try and not stored twice', async () => {
    const [store, stream] = [connected(), uniqueName('cut')];
    const [first, second] = [newEvents(2), newEvents(3)];
    await store.append(stream, first, 'no_stream');
    cluster.leading.atNextAppend('cut-after-commit');
    await expect(store.append(stream, second, 1n)).rejects.toBeInstanceOf(EventStoreUnavailableError);
    expect(await persistently(() => store.append(stream, second, 1n))).toMatchObject({ revision: 4n });
    expect(await idsIn(store, stream)).toEqual([...ids(first), ...ids(second)]);
  });

  it('that never came to the store is stored by the next try', async () => {
    const [store, stream, events] = [connected(), uniqueName('cut'), newEvents(2)];
    await store.ping();
    cluster.leading.atNextAppend('cut-before');
    expect(await persistently(() => store.append(stream, events, 'no_stream'))).toEqual({
      revision: 1n,
      tries: 2,
      position: expect.anything() as object,
    });
    expect(await idsIn(store, stream)).toEqual(ids(events));
  });

  it('beside others loses no event and repeats no event, whichever append the connection was cut for', async () => {
    const store = connected();
    const streams = Array.from({ length: 20 }, () => ({ name: uniqueName('many'), events: newEvents(3) }));
    for (const fault of ['cut-after-commit', 'cut-before', 'cut-after-commit'] as const) cluster.leading.atNextAppend(fault);
    await Promise.all(streams.map(({ name, events }) => persistently(() => store.append(name, events, 'no_stream'))));
    for (const { name, events } of streams) expect(await idsIn(store, name)).toEqual(ids(events));
  });

  it('goes to the leader that the refusal of a follower names', async () => {
    const [, follower] = cluster.nodes;
    const [store, stream, events] = [connected(cluster.connectionString(follower)), uniqueName('led'), newEvents(1)];
    const { tries } = await persistently(() => store.append(stream, events, 'no_stream'));
    expect(tries).toBe(2);
    expect([follower!.seen.refused, cluster.leading.seen.appends]).toEqual([1, 1]);
    expect(await idsIn(connected(), stream)).toEqual(ids(events));
  });

  it('goes to the next leader when the leader steps down', async () => {
    const [store, stream] = [connected(), uniqueName('elected')];
    const rounds = [newEvents(1), newEvents(1), newEvents(1), newEvents(1)];
    for (const [index, events] of rounds.entries()) {
      cluster.lead(cluster.nodes[index % 3]!);
      await persistently(() => store.append(stream, events, index === 0 ? 'no_stream' : BigInt(index - 1)));
    }
    expect(await idsIn(store, stream)).toEqual(rounds.flatMap(ids));
  });

  it('finds the next leader by gossip when the leader is gone, and comes back to it later', async () => {
    const [store, stream] = [connected(), uniqueName('gone')];
    const [first, second, third] = [newEvents(1), newEvents(1), newEvents(1)];
    await store.append(stream, first, 'no_stream');
    const lost = await cluster.loseLeader();
    await persistently(() => store.append(stream, second, 0n));
    await lost.start();
    cluster.lead(lost);
    await persistently(() => store.append(stream, third, 1n));
    expect(await idsIn(store, stream)).toEqual([first, second, third].flatMap(ids));
  });

  it('waits for a slow store, while reads and other appends are answered', async () => {
    const [store, stream] = [connected(), uniqueName('slow')];
    const [slow, quick] = [newEvents(1), newEvents(1)];
    await store.ping();
    cluster.leading.atNextAppend('hold');
    const appending = store.append(stream, slow, 'no_stream');
    await eventually(() => cluster.leading.holds === 1);
    expect(await idsIn(store, stream)).toEqual(ids(slow));
    await store.append(uniqueName('quick'), quick, 'no_stream');
    cluster.leading.release();
    expect(await appending).toMatchObject({ revision: 0n });
  });
});

describe('a subscription', () => {
  /** Follows the subscription from the start, while appends go directly to the store behind the nodes. */
  async function followed(all: boolean, between: (round: number) => Promise<void>): Promise<void> {
    const writer = connected(embedded.connectionString);
    const reader = connected();
    const [stream, rounds] = [uniqueName('followed'), [newEvents(3), newEvents(3), newEvents(3)]];
    const subscription = all
      ? reader.subscribeAll({ after: 'start', streamPrefixes: [stream] })
      : reader.subscribe(stream, { after: 'start' });
    const isEvent = (item: SubscriptionItem): boolean => item.kind === 'event';
    const got: string[] = [];
    const following = (async () => {
      for await (const item of subscription) {
        if (isEvent(item) && item.kind === 'event') got.push(item.event.id);
        if (got.length === 9) break;
      }
    })();
    for (const [round, events] of rounds.entries()) {
      await writer.append(stream, events, 'any');
      await eventually(() => got.length >= (round + 1) * 3);
      if (round < 2) await between(round);
    }
    await following;
    expect(got).toEqual(rounds.flatMap(ids));
  }

  const drops: Drop[] = ['unavailable', 'cancelled', 'end', 'cut'];
  it.each(drops)('that is dropped (%s) goes on behind the last event, and neither loses nor repeats one', async (how) => {
    for (const all of [false, true]) {
      await followed(all, async () => {
        await eventually(() => cluster.leading.openSubscriptions > 0);
        cluster.leading.dropSubscriptions(how);
      });
    }
  });

  it('follows the leader to another node', async () => {
    await followed(true, async () => {
      await cluster.loseLeader();
    });
  });

  it('reads what a slow node sends, in order', async () => {
    cluster.leading.slowMs = 20;
    await followed(false, async () => {});
  });
});

it('a read goes on with another node where one is gone', async () => {
  const [store, stream, events] = [connected(), uniqueName('read'), newEvents(5)];
  await store.append(stream, events, 'no_stream');
  await cluster.loseLeader();
  expect(await idsIn(store, stream)).toEqual(ids(events));
  expect(await take(store.readAll({ streamPrefixes: [stream] }), 5)).toHaveLength(5);
});

describe('a leader that steps down and lags behind', () => {
  let older: EmbeddedEventStore;
  beforeAll(async () => {
    older = await startEmbeddedEventStore({ folder: join(folder, 'older') });
  });
  afterAll(() => older.stop());

  /** Both stores have the first events, and only the new leader's gets the rest. */
  async function lagging(): Promise<{ store: ConnectedEventStore; stream: string; events: NewEvent[] }> {
    const [store, stream, events] = [connected(), uniqueName('lagging'), newEvents(5)];
    for (const one of [store, connected(older.connectionString)]) await one.append(stream, events.slice(0, 2), 'no_stream');
    expect(await idsIn(store, stream)).toEqual(ids(events.slice(0, 2)));
    return { store, stream, events };
  }

  function stepsDown(): void {
    const [first, next] = cluster.nodes;
    first!.lag(older.connectionString);
    cluster.lead(next!);
  }

  it('is not read from, so no newer event is forgotten', async () => {
    const { store, stream, events } = await lagging();
    stepsDown();
    await persistently(() => store.append(stream, events.slice(2), 1n));
    expect(await idsIn(store, stream)).toEqual(ids(events));
    expect((await take(store.readAll({ streamPrefixes: [stream] }), 5)).map(({ id }) => id)).toEqual(ids(events));
    const [last] = await collect(store.read(stream, { direction: 'backwards', maxCount: 1 }));
    expect(last).toMatchObject({ id: events[4]!.id, revision: 4n });
  });

  it.each(['unavailable', 'cut'] as Drop[])('neither hides nor repeats an event of a subscription that it drops (%s)', async (how) => {
    const { store, stream, events } = await lagging();
    const got: string[] = [];
    const following = (async () => {
      for await (const item of store.subscribeAll({ after: 'start', streamPrefixes: [stream] })) {
        if (item.kind === 'event') got.push(item.event.id);
        if (got.length === 5) break;
      }
    })();
    await eventually(() => got.length === 2 && cluster.leading.openSubscriptions > 0);
    const [former] = cluster.nodes;
    stepsDown();
    await persistently(() => connected(embedded.connectionString).append(stream, events.slice(2), 1n));
    former!.dropSubscriptions(how);
    await following;
    expect(got).toEqual(ids(events));
  });
});

it('a stream whose beginning was scavenged keeps the revisions of the rest, so that a reader sees what is missing', async () => {
  const [store, stream, events] = [connected(), uniqueName('scavenged'), newEvents(5)];
  await store.append(stream, events, 'no_stream');
  const operator = KurrentDBClient.connectionString(cluster.connectionString());
  try {
    await operator.setStreamMetadata(stream, { truncateBefore: 2 });
  } finally {
    await operator.dispose();
  }
  const left = await collect(store.read(stream));
  expect(left.map(({ id, revision }) => [id, revision])).toEqual(
    ids(events)
      .map((id, index) => [id, BigInt(index)] as const)
      .slice(2),
  );
  const [more] = [newEvents(1)];
  await store.append(stream, more, 4n); // the next revision is the one that it would have been
  expect((await collect(store.read(stream))).at(-1)).toMatchObject({ id: more[0]!.id, revision: 5n });
});

describe('a node with another certificate', () => {
  const server = (authority: Signed): Promise<Signed> =>
    signedBy(authority, { subject: 'node', names: ['localhost', '127.0.0.1'], use: 'server', days: 30 });

  it('is taken where the same authority signed it, and refused by name where another one did', async () => {
    const [own, other] = [await newAuthority('own', 30), await newAuthority('other', 30)];
    const caFile = join(folder, 'authority.pem');
    writeFileSync(caFile, own.certificate);
    const query = `tls=true&tlsCAFile=${encodeURIComponent(caFile)}`;
    const secure = await FaultyCluster.start(embedded.connectionString, { nodes: 1, tls: await server(own), login: 'admin:pass@', query });
    const [node] = secure.nodes;
    try {
      const [store, stream] = [connected(secure.connectionString()), uniqueName('tls')];
      const [first, second, third] = [newEvents(1), newEvents(1), newEvents(1)];
      await store.append(stream, first, 'no_stream');
      expect(await idsIn(store, stream)).toEqual(ids(first));
      await node!.stop();
      await node!.start(await server(own));
      await persistently(() => store.append(stream, second, 0n));
      await node!.stop();
      await node!.start(await server(other));
      await eventually(async () => {
        const error: unknown = await store.append(stream, third, 1n).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(EventStoreUnavailableError);
        return /certificate/i.test((error as Error).message);
      });
      await node!.stop();
      await node!.start(await server(own));
      await persistently(() => store.append(stream, third, 1n));
      expect(await idsIn(connected(embedded.connectionString), stream)).toEqual([first, second, third].flatMap(ids));
    } finally {
      await secure.stop();
    }
  });
});
