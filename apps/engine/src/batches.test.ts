import { Batches } from './batches.js';

test('what comes while a batch gathers is one batch, and the end does not wait', async () => {
  const batches = new Batches<number>();
  const seen: number[][] = [];
  const reading = (async () => {
    for await (const batch of batches) {
      seen.push(batch);
      await batches.gather(60_000);
    }
  })();
  batches.push([1]);
  await new Promise(setImmediate);
  batches.push([2]);
  batches.push([3, 4]);
  await new Promise(setImmediate);
  expect(seen).toEqual([[1]]);
  batches.end();
  await reading;
  expect(seen).toEqual([[1], [2, 3, 4]]);
});

test('a batch gathers for no longer than it may', async () => {
  const batches = new Batches<number>();
  const reader = batches[Symbol.asyncIterator]();
  batches.push([1]);
  expect((await reader.next()).value).toEqual([1]);
  batches.push([2]);
  await batches.gather(1);
  expect((await reader.next()).value).toEqual([2]);
});
