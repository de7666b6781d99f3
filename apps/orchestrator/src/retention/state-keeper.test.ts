// Tests which artifacts stay, are set aside or are removed, for given needs of recorded events and pins.
import { EventEmitter } from 'node:events';
import { MEDIA_TYPE_SAFETENSORS, type ArtifactEntry } from '#artifact-store';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { launched, stateAt, Story } from '../pruning-run/testing.js';
import { QUARANTINE_MS, StateKeeper } from './state-keeper.js';

const DAY_MS = 86_400_000;
let needed: Set<string>;
let unfinished: PruningRunState[];
let isSurelyHeld: boolean;
let missing: object | null;
let sharesArtifacts: boolean;
let deleted: string[];
let stored: Map<string, number>;
let aside: Map<string, number>;
let incoming: { name: string; bytes: number; changedAt: Date; isInUse: boolean }[];
let letDelete: (() => void) | null;
let seen: (() => void)[];
let logged: string[];
let changes: EventEmitter;
let keeper: StateKeeper;
const drop = (digests: string[]): boolean => changes.emit('dropped', digests);
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const ago = (ms: number): number => Date.now() - ms;

async function* entriesOf(ages: Map<string, number>): AsyncGenerator<ArtifactEntry> {
  await Promise.resolve();
  for (const [digest, at] of [...ages]) yield { digest, bytes: 1, storedAt: new Date(at) };
}

function moved(digest: string, from: Map<string, number>, to: Map<string, number> | null): Promise<boolean> {
  const was = from.delete(digest);
  if (was) to?.set(digest, Date.now());
  return Promise.resolve(was);
}

beforeEach(() => {
  [needed, isSurelyHeld, missing, sharesArtifacts, deleted, incoming, letDelete, seen, logged] = [
    new Set(),
    true,
    null,
    false,
    [],
    [],
    null,
    [],
    [],
  ];
  [stored, aside, unfinished] = [new Map(), new Map(), []];
  changes = new EventEmitter();
  const feed = {
    onDropped: (listener: (digests: string[]) => void) => changes.on('dropped', listener),
    isNeeded: (digest: string) => needed.has(digest),
    unfinished: () => unfinished,
    hasDamage: () => false,
    seen: () => new Promise<void>((resolve) => seen.push(resolve)),
    settle: () => Promise.resolve(),
  };
  const artifacts = {
    delete: async (digest: string) => {
      if (letDelete !== null) await new Promise<void>((resolve) => (letDelete = resolve));
      deleted.push(digest);
      stored.delete(digest);
      return true;
    },
    list: () => entriesOf(stored),
    stat: (digest: string) =>
      Promise.resolve({ bytes: 1, mediaType: digest === 'tokens' ? 'application/octet-stream' : MEDIA_TYPE_SAFETENSORS }),
    quarantine: {
      moveIn: (digest: string) => moved(digest, stored, aside),
      giveBack: (digest: string) => moved(digest, aside, stored),
      remove: (digest: string) => moved(digest, aside, null),
      list: () => entriesOf(aside),
    },
    incoming: {
      async *list() {
        await Promise.resolve();
        yield* [...incoming];
      },
      remove: (name: string) => {
        incoming = incoming.filter((one) => one.name !== name);
        return Promise.resolve(true);
      },
    },
  };
  const views = {
    ready: () => Promise.resolve(),
    discardOf: (digest: string) => (digest === 'thrown away' ? { runId: 'run', revision: 3 } : null),
  };
  const lease = {
    get isSurelyHeld() {
      return isSurelyHeld;
    },
  };
  const condition = {
    get missing() {
      return missing as never;
    },
  };
  const config = {
    get sharesArtifacts() {
      return sharesArtifacts;
    },
  };
  const note = ({ digest, name }: { digest?: string; name?: string }): number => logged.push(digest ?? name ?? 'error');
  const log = { info: note, warn: note, debug: () => undefined };
  keeper = new StateKeeper(artifacts as never, feed as never, views as never, lease as never, condition, config, log as never);
  keeper.start();
});
afterEach(() => keeper.stop());

test('what an event no longer needs is deleted', async () => {
  needed.add('of another run');
  drop(['old', 'of another run']);
  await settled();
  expect(deleted).toEqual(['old']);
});

test('what two runs are about to name stays until both have let it go', async () => {
  await keeper.pin('state');
  await keeper.pin('state');
  drop(['state']);
  keeper.release('state');
  await settled();
  expect(deleted).toEqual([]);
  keeper.release('state');
  await settled();
  expect(deleted).toEqual(['state']);
});

test('what is let go without an event stays: its append may have taken effect all the same', async () => {
  await keeper.pin('state');
  keeper.release('state');
  await settled();
  expect(deleted).toEqual([]);
});

test('a pin on an artifact that is being deleted waits, so that it is put again after', async () => {
  letDelete = () => undefined;
  drop(['state']);
  await settled();
  let isPinned = false;
  const pinned = keeper.pin('state').then(() => (isPinned = true));
  await settled();
  expect(isPinned).toBe(false);
  letDelete();
  await pinned;
  expect(deleted).toEqual(['state']);
});

test('what is recorded is let go when the feed has seen the event that names it, not before', async () => {
  await keeper.pin('state');
  keeper.releaseAfter('state', 'run', 7);
  drop(['state']);
  await settled();
  expect(deleted).toEqual([]);
  needed.add('state');
  seen.forEach((tell) => tell());
  await settled();
  expect(deleted).toEqual([]);
});

test('left-overs are set aside once they are old, what events threw away at once, tokens never; each is told', async () => {
  stored = new Map([
    ['old state', ago(2 * DAY_MS)],
    ['young state', ago(DAY_MS / 2)],
    ['thrown away', ago(0)],
    ['tokens', ago(9 * DAY_MS)],
    ['needed', ago(9 * DAY_MS)],
  ]);
  needed.add('needed');
  await keeper.sweep();
  expect([...aside.keys()].sort()).toEqual(['old state', 'thrown away']);
  expect([...stored.keys()]).toEqual(['young state', 'tokens', 'needed']);
  expect(deleted).toEqual([]);
  expect(logged.sort()).toEqual(['old state', 'thrown away']);
});

test('what an unfinished run needs comes back before the whole history is read, and nothing else does', async () => {
  unfinished = [new Story(launched()).start().train(stateAt(10, 0.004)).state];
  const state = unfinished[0]!.current!.stateDigest;
  aside = new Map([
    [state, ago(DAY_MS)],
    ['of an ended run', ago(DAY_MS)],
  ]);
  needed = new Set([state, 'of an ended run']);
  await keeper.recallForUnfinished();
  expect([[...stored.keys()], [...aside.keys()]]).toEqual([[state], ['of an ended run']]);
});

test('the quarantine gives back what an event needs, and keeps the rest for a week', async () => {
  aside = new Map([
    ['needed after all', ago(2 * QUARANTINE_MS)],
    ['long ago', ago(QUARANTINE_MS)],
    ['of late', ago(QUARANTINE_MS - DAY_MS)],
  ]);
  needed.add('needed after all');
  await keeper.sweep();
  expect([...stored.keys()]).toEqual(['needed after all']);
  expect([...aside.keys()]).toEqual(['of late']);
  expect(logged.sort()).toEqual(['long ago', 'needed after all']);
});

test.each([
  ['a driver whose lease may have run out', () => (isSurelyHeld = false)],
  ['a server whose event store lacks events', () => (missing = {})],
])('%s removes and sets aside nothing, and still gives back', async (_who, given) => {
  given();
  stored = new Map([['old state', ago(9 * DAY_MS)]]);
  aside = new Map([
    ['long ago', ago(2 * QUARANTINE_MS)],
    ['needed after all', ago(0)],
  ]);
  needed.add('needed after all');
  drop(['old state']);
  await keeper.sweep();
  await settled();
  expect(deleted).toEqual([]);
  expect(await keeper.discard('old state')).toBe(false);
  expect(await keeper.remove('long ago', 'a test asks for it')).toBe(false);
  expect([...stored.keys()].sort()).toEqual(['needed after all', 'old state']);
  expect([...aside.keys()]).toEqual(['long ago']);
});

test('files on their way in go when no attempt of now can own them', async () => {
  const file = (name: string, age: number, isInUse = false) => ({ name, bytes: 2, changedAt: new Date(ago(age)), isInUse });
  const files = [file('of a former life', 60_000), file('of a stalled attempt', 2 * DAY_MS, true), file('of late', -60_000)];
  incoming = [...files];
  await keeper.sweep();
  expect(incoming.map(({ name }) => name)).toEqual(['of a stalled attempt', 'of late']);
  // Unless this server surely drives, another one may write into a shared folder.
  [sharesArtifacts, isSurelyHeld, incoming] = [true, false, [...files, file('old', 2 * DAY_MS)]];
  await keeper.sweep();
  expect(incoming).toHaveLength(4);
  isSurelyHeld = true;
  await keeper.sweep();
  expect(incoming.map(({ name }) => name)).toEqual(['of a former life', 'of a stalled attempt', 'of late']);
});
