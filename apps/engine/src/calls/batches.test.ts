import { Batches } from './batches.js';

function reading(batches: Batches<number>): { seen: number[][]; done: Promise<void> } {
  const seen: number[][] = [];
  const done = (async () => {
    for await (const batch of batches) seen.push(batch);
  })();
  return { seen, done };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('without a time to gather, what has come since the last turn is a batch', async () => {
  const batches = new Batches<number>();
  const { seen, done } = reading(batches);
  batches.push([1]);
  batches.push([2]);
  await turn();
  batches.push([3]);
  batches.end();
  await done;
  expect(seen).toEqual([[1, 2], [3]]);
});

test('what comes while a batch gathers is one batch, and the end does not wait', async () => {
  const batches = new Batches<number>(60_000);
  const { seen, done } = reading(batches);
  batches.push([1]);
  await turn();
  batches.push([2]);
  batches.push([3, 4]);
  await turn();
  expect(seen).toEqual([]);
  batches.end();
  await done;
  expect(seen).toEqual([[1, 2, 3, 4]]);
});

test('what is urgent takes along what gathers, and does not hurry what comes after it', async () => {
  const batches = new Batches<number>(60_000);
  const { seen, done } = reading(batches);
  batches.push([1]);
  await turn();
  batches.push([2], true);
  await turn();
  batches.push([3]);
  await turn();
  expect(seen).toEqual([[1, 2]]);
  batches.end();
  await done;
  expect(seen).toEqual([[1, 2], [3]]);
});

test('another time to gather holds from now on, also for what gathers already', async () => {
  const batches = new Batches<number>(60_000);
  const { seen, done } = reading(batches);
  batches.push([1]);
  await turn();
  batches.setGatherMs(1);
  await turn();
  expect(seen).toEqual([[1]]);
  batches.push([2]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(seen).toEqual([[1], [2]]);
  batches.setGatherMs(60_000); // no item waits, so no batch is sent early
  batches.push([3]);
  await turn();
  expect(seen).toEqual([[1], [2]]);
  batches.end();
  await done;
});

test('a batch gathers for no longer than it may', async () => {
  const batches = new Batches<number>(1);
  const reader = batches[Symbol.asyncIterator]();
  batches.push([1]);
  expect((await reader.next()).value).toEqual([1]);
  batches.push([2]);
  expect((await reader.next()).value).toEqual([2]);
});
