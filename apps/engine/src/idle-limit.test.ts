import { idleLimitMs } from './idle-limit.js';

test('an engine that has had a session ends after the time that was asked for, and waits a minute or longer for its first one', () => {
  expect([1, 60, 300].map((seconds) => idleLimitMs(seconds, true))).toEqual([1_000, 60_000, 300_000]);
  expect([1, 60, 300].map((seconds) => idleLimitMs(seconds, false))).toEqual([60_000, 60_000, 300_000]);
});
