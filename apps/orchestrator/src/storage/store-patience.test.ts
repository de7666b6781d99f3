// Tests when a silent event store is ended. Each test looks every two seconds, as the server does.
import { StorePatience, type StoreSample } from './store-patience.js';

/** Looks at a store that stays silent, and returns the seconds after which it is ended; Infinity: not within an hour. */
function secondsUntilEnd(patience: StorePatience, fromS: number, look: (second: number) => Partial<StoreSample>): number {
  for (let second = 0; second <= 3_600; second += 2)
    if (patience.isOver({ nowMs: (fromS + second) * 1_000, workedMs: 0, lateMs: 0, ...look(second) })) return second;
  return Infinity;
}
const hangs = (): Partial<StoreSample> => ({});

test('a store that hangs is ended after a few seconds, and each time later, until it answers', () => {
  const patience = new StorePatience();
  const ends: number[] = [];
  for (let at = 0; ends.length < 8; at += 4_000) {
    ends.push(secondsUntilEnd(patience, at, hangs));
    patience.startsAgain();
  }
  expect(ends).toEqual([6, 12, 24, 48, 96, 192, 300, 300]);
  patience.answered();
  expect(secondsUntilEnd(patience, 0, hangs)).toBe(6);
});

test('a store that makes progress, though it has a hundredth of a processor, is left alone for minutes', () => {
  expect(secondsUntilEnd(new StorePatience(), 0, (second) => ({ workedMs: 10 * second }))).toBe(300);
  const stopped = secondsUntilEnd(new StorePatience(), 0, (second) => ({ workedMs: 10 * Math.min(second, 30) }));
  expect(stopped).toBe(36);
});

test('while the server itself is starved, the silence says nothing', () => {
  expect(secondsUntilEnd(new StorePatience(), 0, () => ({ lateMs: 1_500 }))).toBe(Infinity);
});

test('a kernel that does not tell what a process does leaves the first patience', () => {
  expect(secondsUntilEnd(new StorePatience(), 0, () => ({ workedMs: null }))).toBe(6);
});
