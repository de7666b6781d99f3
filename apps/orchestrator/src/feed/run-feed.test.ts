// Tests the feed on a real event store. The place where it starts must make no difference to what it knows.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectEventStore, EventCorruptError, startEmbeddedEventStore, type EmbeddedEventStore, type EventStore } from '#event-store';
import { Tallies } from '../monitoring/tallies.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { fact, launched, sparsities, stateAt, Story } from '../pruning-run/testing.js';
import { LiveProgress } from '../live/live-progress.js';
import { RunViews } from '../views/run-views.js';
import { Recorder } from '../views/testing.js';
import { RunFeed } from './run-feed.js';

const [OPEN, ENDED, WAITING] = ['aaaaaaaaaaaa', 'bbbbbbbbbbbb', 'cccccccccccc'] as const;
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined } as never;
let folder: string;
let server: EmbeddedEventStore;
let store: EventStore;
let closing: (() => Promise<unknown>)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feed-'));
  server = await startEmbeddedEventStore({ folder: join(folder, 'store') });
  store = connectEventStore(server);
  closing = [];
});
afterEach(async () => {
  for (const close of closing.reverse()) await close();
  await store.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

async function viewsOf(name: string): Promise<RunViews> {
  const views = new RunViews({ store, folder: await mkdtemp(join(folder, name)), live: new LiveProgress() });
  closing.push(() => views.stop());
  return views;
}

async function feedOn(views: RunViews, from: EventStore = store): Promise<RunFeed> {
  const feed = new RunFeed(from, new RunRepository(store, new Tallies()), views, quiet);
  await feed.start();
  closing.push(() => feed.stop());
  return feed;
}

async function append(recorder: Recorder, from = 0): Promise<number> {
  for (const { stream, id, type, data } of recorder.events.slice(from)) await store.append(stream, [{ id, type, data }], 'any');
  return recorder.events.length;
}

test('a feed that goes on from the views reads no older event, and knows what one knows that reads everything', async () => {
  const states = [stateAt(10, 0.012), stateAt(20, 0.023), stateAt(30, 0.034), stateAt(40, 0.045)];
  const ended = new Story(launched({ totalSteps: 40, segmentSteps: 10 }, ENDED)).start().train(...states);
  const { step, stateDigest, hardSparsity } = ended.state.current!;
  ended.facts.push(fact('RunCompleted', { step, stateDigest, ...sparsities(hardSparsity), trainingSeconds: 1, evaluationError: null }));
  const recorder = new Recorder()
    .record(ENDED, ended.facts)
    .record(
      OPEN,
      new Story(launched({ totalSteps: 100, segmentSteps: 10 }, OPEN)).start().train(stateAt(11, 0.013), stateAt(21, 0.024)).facts,
    )
    .record(WAITING, new Story(launched({ totalSteps: 50 }, WAITING)).facts);
  const told = await append(recorder);
  const views = await viewsOf('kept-');
  views.start();
  for (const runId of [OPEN, ENDED, WAITING]) await views.getRun(runId);

  const asked: unknown[] = [];
  const watched: EventStore = Object.create(store, {
    subscribeAll: {
      value: (options: { after: unknown }) => {
        asked.push(options.after);
        return store.subscribeAll(options as never);
      },
    },
  }) as EventStore;
  const goingOn = await feedOn(views, watched);
  const { position } = await views.unfinished();
  expect(asked).toEqual([position, 'start']); // the needs of artifacts are read from the first event on
  expect(position).not.toBeNull();
  const empty = await viewsOf('empty-'); // these views were never started, so the feed has no position to start from
  const reading = await feedOn(empty);

  const digests = [...states, stateAt(11, 0.013), stateAt(21, 0.024)].map((state) => state.stateDigest);
  const known = (feed: RunFeed): unknown => ({
    open: feed
      .unfinished()
      .map(({ runId, status, revision, chain, current, attempt }) => ({ runId, status, revision, chain, current, attempt }))
      .sort((a, b) => a.runId.localeCompare(b.runId)),
    needed: digests.filter((digest) => feed.isNeeded(digest)),
  });
  for (const feed of [goingOn, reading]) await feed.settle();
  expect(known(goingOn)).toEqual(known(reading));
  expect(
    goingOn
      .unfinished()
      .map(({ runId }) => runId)
      .sort(),
  ).toEqual([OPEN, WAITING]);
  expect(goingOn.isNeeded(stateDigest)).toBe(true);
  expect(goingOn.isNeeded('0'.repeat(64))).toBe(false);
  await goingOn.seen(ENDED, ended.facts.length - 1); // this run gets no more events

  // The ended run gets another event. After the rewind, only its abandoned teachers need the states behind it.
  const teacher = ended.state.teachers[0]!;
  recorder.record(ENDED, [
    fact('RunRewound', {
      toStep: teacher.state.step,
      state: teacher.state,
      teacherMark: teacher.mark,
      abandonedFromRevision: teacher.revision! + 1,
      acceptOtherNumerics: false,
      targetReachedStep: null,
    }),
  ]);
  const dropped: string[][] = [[], []];
  [goingOn, reading].forEach((feed, index) => feed.onDropped((digests) => dropped[index]!.push(...digests)));
  await append(recorder, told);
  for (const feed of [goingOn, reading]) await feed.seen(ENDED, ended.facts.length);
  expect(known(goingOn)).toEqual(known(reading));
  expect(
    goingOn
      .unfinished()
      .map(({ runId }) => runId)
      .sort(),
  ).toEqual([OPEN, ENDED, WAITING]);
  expect(dropped[1]!.filter((digest) => !dropped[0]!.includes(digest) && goingOn.isNeeded(digest))).toEqual([]);
});

/** Returns the store with a damaged event in the run: the third one. `onEvent` is called for each event that a subscription reads. */
function withDamage(runId: string, onEvent: () => void = () => undefined): EventStore {
  return Object.create(store, {
    subscribeAll: {
      value: (options: never) => {
        const own = store.subscribeAll(options);
        return {
          close: () => own.close(),
          async *[Symbol.asyncIterator]() {
            for await (const item of own) {
              if (item.kind === 'event') onEvent();
              if (item.kind === 'event' && item.event.stream.endsWith(runId) && item.event.revision === 2n)
                yield { kind: 'damaged', error: new EventCorruptError(item.event.stream, 2n, item.event.position, 'a byte was changed') };
              else yield item;
            }
          },
        };
      },
    },
  }) as EventStore;
}

test('a history that the views read for the first time is read once, its damaged events too', async () => {
  const ended = new Story(launched({ totalSteps: 10, segmentSteps: 10 }, ENDED)).start().train(stateAt(10, 0.012));
  const { step, stateDigest, hardSparsity } = ended.state.current!;
  ended.facts.push(fact('RunCompleted', { step, stateDigest, ...sparsities(hardSparsity), trainingSeconds: 1, evaluationError: null }));
  const [running, damaged] = [OPEN, WAITING].map((runId) =>
    new Story(launched({ totalSteps: 100, segmentSteps: 10 }, runId)).start().train(stateAt(11, 0.013)),
  );
  await append(new Recorder().record(ENDED, ended.facts).record(OPEN, running!.facts).record(WAITING, damaged!.facts));
  let read = 0;
  const counting = withDamage(WAITING, () => (read += 1));
  const views = new RunViews({ store: counting, folder: await mkdtemp(join(folder, 'new-')), live: new LiveProgress() });
  closing.push(() => views.stop());
  const feed = new RunFeed(counting, new RunRepository(store, new Tallies()), views, quiet);
  closing.push(() => feed.stop());
  views.start();
  await feed.start();
  await feed.settle();
  const metrics = 3;
  expect(read).toBe(ended.facts.length + running!.facts.length + damaged!.facts.length + metrics);
  expect(feed.unfinished().map(({ runId, revision }) => [runId, revision])).toEqual([[OPEN, running!.facts.length - 1]]);
  expect([feed.isDamaged(WAITING), feed.isNeeded('0'.repeat(64)), feed.isDamaged(ENDED)]).toEqual([true, true, false]);
  expect((await views.getRun(WAITING)).damage).toEqual([{ revision: 2n, metrics: false, problem: 'a byte was changed' }]);
});

test('views of a store that was put back to an earlier time, or of another store, are made again', async () => {
  const recorder = new Recorder().record(
    OPEN,
    new Story(launched({ totalSteps: 100, segmentSteps: 10 }, OPEN)).start().train(stateAt(11, 0.013), stateAt(21, 0.024)).facts,
  );
  await append(recorder);
  const viewsFolder = await mkdtemp(join(folder, 'views-'));
  const open = (from: EventStore): RunViews => new RunViews({ store: from, folder: viewsFolder, live: new LiveProgress() });
  const before = open(store);
  before.start();
  expect((await before.getRun(OPEN)).step).toBe(21n);
  await before.stop();

  const other = await startEmbeddedEventStore({ folder: join(folder, 'other-store') });
  const otherStore = connectEventStore(other);
  closing.push(
    () => other.stop(),
    () => otherStore.close(),
  );
  for (const { stream, id, type, data } of recorder.events.slice(0, 4)) await otherStore.append(stream, [{ id, type, data }], 'any');
  const restored = open(otherStore);
  closing.push(() => restored.stop());
  restored.start();
  expect(Number((await restored.getRun(OPEN)).step)).toBeLessThan(21);
  const feed = await feedOn(restored, otherStore);
  expect(feed.unfinished()[0]!.revision).toBe(3);
  for (const { stream, id, type, data } of recorder.events.slice(4)) await otherStore.append(stream, [{ id, type, data }], 'any');
  await feed.seen(OPEN, recorder.events.filter(({ stream }) => stream.startsWith('pruningRun-')).length - 1);
  expect((await restored.getRun(OPEN, { atRevision: feed.unfinished()[0]!.revision })).step).toBe(21n);
});

test('a feed outlives errors of its subscription and of the store, and goes on from where it was', async () => {
  const recorder = new Recorder().record(WAITING, new Story(launched({ totalSteps: 50 }, WAITING)).facts);
  const told = await append(recorder);
  const views = await viewsOf('outliving-');
  views.start();
  await views.getRun(WAITING);
  let subscriptions = 0;
  const failing: EventStore = Object.create(store, {
    subscribeAll: {
      value: (options: never) => {
        subscriptions += 1;
        if (subscriptions > 2) return store.subscribeAll(options);
        if (subscriptions === 1) throw new Error('no connection');
        const broken = Promise.reject(new Error('the disk of the store fails'));
        broken.catch(() => undefined);
        return { close: () => Promise.resolve(), [Symbol.asyncIterator]: () => ({ next: () => broken }) };
      },
    },
  }) as EventStore;
  const feed = await feedOn(views, failing);
  expect(subscriptions).toBe(4); // the last subscription is that of the artifacts' needs
  recorder.record(OPEN, new Story(launched({ totalSteps: 100, segmentSteps: 10 }, OPEN)).facts);
  await append(recorder, told);
  await feed.seen(OPEN, 0);
  expect(
    feed
      .unfinished()
      .map(({ runId }) => runId)
      .sort(),
  ).toEqual([OPEN, WAITING]);
});

describe('what a cache says of runs decides no deletion', () => {
  async function endedRun(): Promise<string> {
    const ended = new Story(launched({ totalSteps: 10, segmentSteps: 10 }, ENDED)).start().train(stateAt(10, 0.012));
    const { step, stateDigest, hardSparsity } = ended.state.current!;
    ended.facts.push(fact('RunCompleted', { step, stateDigest, ...sparsities(hardSparsity), trainingSeconds: 1, evaluationError: null }));
    await append(new Recorder().record(ENDED, ended.facts));
    return stateDigest;
  }

  test('the needs of an ended run come from its events, whatever rows the views have', async () => {
    const stateDigest = await endedRun();
    const views = await viewsOf('emptied-');
    views.start();
    await views.getRun(ENDED);
    views.database.exec('DELETE FROM needed_artifacts_rows; DELETE FROM runs_rows; DELETE FROM run_details_rows');
    const feed = await feedOn(views);
    await feed.settle();
    expect([feed.isNeeded(stateDigest), feed.isNeeded(stateDigest, ENDED), feed.isNeeded('0'.repeat(64))]).toEqual([true, false, false]);
  });

  test('a damaged event of an ended run is found at the start, though the views have what it said; and its mark goes with it', async () => {
    await endedRun();
    const views = await viewsOf('knowing-');
    views.start();
    await views.getRun(ENDED);
    const feed = await feedOn(views, withDamage(ENDED));
    await until(() => feed.hasDamage());
    expect([feed.isDamaged(ENDED), feed.isNeeded('0'.repeat(64))]).toEqual([true, true]);
    expect((await views.getRun(ENDED)).damage).toEqual([{ revision: 2n, metrics: false, problem: 'a byte was changed' }]);
    // A backup has replaced the store.
    const mended = await feedOn(views);
    await until(() => !views.hasDamage());
    await until(() => views.peek(ENDED) !== null);
    expect([(await views.getRun(ENDED)).damage, mended.hasDamage()]).toEqual([[], false]);
  });
});

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries === 200) throw new Error('it never held');
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
