import { deliver } from './backpressure.js';

test('a read that finds nothing in a part of the events gives other calls their turn', async () => {
  let hadTheirTurn = false;
  setImmediate(() => (hadTheirTurn = true));
  const call = { cancelled: false, destroyed: false, writableEnded: false };
  expect(await deliver(call as never, [], undefined)).toBe(true);
  expect(hadTheirTurn).toBe(true);
});

test('a client that has gone meanwhile is noticed by a read that finds nothing', async () => {
  const call = { cancelled: false, destroyed: false, writableEnded: false };
  setImmediate(() => (call.cancelled = true));
  expect(await deliver(call as never, [], undefined)).toBe(false);
});
