// Which artifacts stay: given what recorded events need and who is about to name what, when something is dropped, then this is deleted.
import { MEDIA_TYPE_SAFETENSORS } from '#artifact-store';
import { StateKeeper } from './state-keeper.js';

let needed: Set<string>;
let held: boolean;
let deleted: string[];
let letDelete: (() => void) | null;
let drop: (digests: string[]) => void;
let seen: (() => void)[];
let keeper: StateKeeper;
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  [needed, held, deleted, letDelete, seen] = [new Set(), true, [], null, []];
  const feed = {
    onDropped: (listener: (digests: string[]) => void) => {
      drop = listener;
    },
    isNeeded: (digest: string) => needed.has(digest),
    seen: () => new Promise<void>((resolve) => seen.push(resolve)),
    settle: () => Promise.resolve(),
  };
  const artifacts = {
    delete: async (digest: string) => {
      if (letDelete !== null) await new Promise<void>((resolve) => (letDelete = resolve));
      deleted.push(digest);
      return true;
    },
    async *list() {
      await Promise.resolve();
      for (const digest of ['state', 'tokens', 'thrown away']) yield { digest };
    },
    stat: (digest: string) =>
      Promise.resolve({ bytes: 1, mediaType: digest === 'state' ? MEDIA_TYPE_SAFETENSORS : 'application/octet-stream' }),
  };
  const views = { ready: () => Promise.resolve(), discardOf: (digest: string) => (digest === 'thrown away' ? {} : null) };
  const lease = {
    get held() {
      return held;
    },
  };
  keeper = new StateKeeper(artifacts as never, feed as never, views as never, lease as never, { warn: () => undefined } as never);
  keeper.start();
});

test('what no event needs any more is deleted', async () => {
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

test('who does not drive the runs deletes nothing', async () => {
  held = false;
  drop(['state']);
  await settled();
  expect(deleted).toEqual([]);
});

test('left-overs of a crash go: states without an event and what was thrown away, never tokens', async () => {
  await keeper.clearLeftOvers();
  expect(deleted).toEqual(['state', 'thrown away']);
});
