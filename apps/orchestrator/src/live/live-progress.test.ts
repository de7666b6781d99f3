import { LiveProgress } from './live-progress.js';

test('a run is watched while any client looks on, and its begin and its end are each told once', () => {
  const live = new LiveProgress();
  const told: boolean[] = [];
  const stop = live.onWatched(() => told.push(live.isWatched('a')));
  const leave = [live.watch('a'), live.watch('a')];
  expect(live.isWatched('a')).toBe(true);
  expect(live.isWatched('b')).toBe(false);
  leave[0]!();
  expect(live.isWatched('a')).toBe(true);
  leave[1]!();
  expect(told).toEqual([true, false]);
  stop();
  live.watch('a');
  expect(told).toHaveLength(2);
});
