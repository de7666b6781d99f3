import { Progress } from './progress.js';

describe('progress of a persistent subscription', () => {
  test('goes no further than the first message that is open', () => {
    const progress = new Progress(undefined);
    for (const sequence of [10, 20, 30]) progress.begin(sequence);
    progress.finish(30);
    progress.finish(20);
    expect(progress.lastCompleted).toBeUndefined();
    progress.finish(10);
    expect([progress.lastCompleted, progress.finishedCount]).toEqual([30, 3]);
  });

  test('passes over what the filter left out, but not over open messages', () => {
    const progress = new Progress(5);
    progress.begin(10);
    progress.passOver(40);
    expect(progress.lastCompleted).toBe(5);
    progress.finish(10);
    expect(progress.lastCompleted).toBe(40);
    progress.finish(10);
    expect(progress.finishedCount).toBe(1);
  });
});
