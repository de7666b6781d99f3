// Tests the repository on an aggregate that has nothing to do with runs, so that nothing but its definition can make it work.
import { WrongExpectedRevisionError, type EventStore, type NewEvent, type StoredEvent } from '#event-store';
import { AggregateRepository } from './aggregate-repository.js';
import { BY_SERVER } from './call-context.js';
import { CHAIN_START, chainProblem, decodeStored } from './event-codec.js';
import { begun } from './not-begun-error.js';
import { shelf, types } from './testing.js';

/** A store that holds streams in memory. */
function memoryStore(): { store: EventStore; streams: Map<string, NewEvent[]>; asked: ('start' | bigint)[] } {
  const streams = new Map<string, NewEvent[]>();
  const asked: ('start' | bigint)[] = [];
  const store = {
    async *read(stream: string, { from }: { from: 'start' | bigint }) {
      const first = from === 'start' ? 0 : Number(from);
      asked.push(from);
      for (const [index, event] of (streams.get(stream) ?? []).entries())
        if (index >= first) yield { ...event, stream, revision: BigInt(index), position: {} } as unknown as StoredEvent;
    },
    append: (stream: string, events: NewEvent[], expected: 'no_stream' | bigint) => {
      const held = streams.get(stream) ?? [];
      if ((expected === 'no_stream' ? 0 : Number(expected) + 1) !== held.length)
        return Promise.reject(new WrongExpectedRevisionError(stream, expected, BigInt(held.length - 1)));
      streams.set(stream, [...held, ...events]);
      return Promise.resolve({ revision: BigInt(held.length + events.length - 1) });
    },
  };
  return { store: store as unknown as EventStore, streams, asked };
}

describe('an aggregate of another kind', () => {
  const by = BY_SERVER;
  it('is loaded, decides and is appended to, with a whole chain', async () => {
    const { store, streams } = memoryStore();
    const shelves = new AggregateRepository(store, shelf);
    await expect(shelves.load('a')).rejects.toThrow('no shelf a');
    await shelves.change('a', { title: 'Emma' }, { by });
    expect((await shelves.change('a', { title: 'Emma' }, { by })).facts).toEqual([]); // the change is made already
    const { state } = await shelves.changeInTurn(
      'a',
      [
        { key: '1', change: { title: 'Ulysses' } },
        { key: '2', change: { title: 'Dune' } },
      ],
      { by },
    );
    expect(state).toMatchObject({ books: ['Emma', 'Ulysses', 'Dune'], revision: 2 });
    await expect(shelves.change('a', { title: 'Ada' }, { by })).rejects.toThrow('the shelf is full');
    let chain = CHAIN_START;
    for (const event of streams.get('shelf-a')!) {
      expect(chainProblem(chain, event)).toBeNull();
      chain = decodeStored(types, event).chain;
    }
  });
  it('is read once: a later look asks only for the events that it has not seen', async () => {
    const { store, asked } = memoryStore();
    await new AggregateRepository(store, shelf).change('a', { title: 'Emma' }, { by });
    const shelves = new AggregateRepository(store, shelf);
    asked.length = 0;
    await shelves.find('a');
    await shelves.find('a');
    expect(asked).toEqual(['start', 1n]);
  });
  it('is named where a change needs one and there is none', async () => {
    const decide = (state: Parameters<typeof shelf.decide>[0]): [] => (begun(state), []);
    const shelves = new AggregateRepository(memoryStore().store, { ...shelf, decide });
    await expect(shelves.change('c', { title: 'Emma' }, { by })).rejects.toThrow('no shelf c');
  });
  it('is damaged where the beginning of its stream is gone, as after a scavenge, and is not changed on the rest', async () => {
    const { store, streams } = memoryStore();
    const before = new AggregateRepository(store, shelf);
    for (const title of ['Emma', 'Dune']) await before.change('a', { title }, { by });
    const scavenged = {
      ...store,
      read: (stream: string) => store.read(stream, { from: 1n }),
    };
    const after = new AggregateRepository(scavenged, shelf);
    await expect(after.load('a')).rejects.toMatchObject({ code: 'RUN_DAMAGED' });
    await expect(after.change('a', { title: 'Ulysses' }, { by })).rejects.toMatchObject({ code: 'RUN_DAMAGED' });
    expect(streams.get('shelf-a')).toHaveLength(2);
  });
  it('decides again where another writer was quicker, and reads events of an earlier version', async () => {
    const { store, streams } = memoryStore();
    const [one, other] = [new AggregateRepository(store, shelf), new AggregateRepository(store, shelf)];
    await one.change('a', { title: 'Emma' }, { by });
    await other.change('a', { title: 'Dune' }, { by });
    expect((await one.change('a', { title: 'Ulysses' }, { by })).state.books).toEqual(['Emma', 'Dune', 'Ulysses']);
    streams.set('shelf-b', [{ id: 'x', type: 'BookPlaced', data: Buffer.from('{"at":"t","chain":"c","name":"Old","v":1}') }]);
    expect((await one.load('b')).books).toEqual(['Old']);
  });
});
