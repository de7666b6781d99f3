import { RecordingQueue } from './recording-queue.js';
import type { TrainedSegment } from './segment-recorder.js';

const segment = (firstStep: number): TrainedSegment => ({ report: { firstStep } }) as unknown as TrainedSegment;

/** A queue whose writes end when the test says so. */
function queueOf(intervalMs: number): { queue: RecordingQueue; writes: number[][]; endOne: () => void; failOne: () => void } {
  const writes: number[][] = [];
  const ends: { resolve: () => void; reject: (error: Error) => void }[] = [];
  const queue = new RecordingQueue((segments) => {
    writes.push(segments.map(({ report }) => report.firstStep));
    return new Promise((resolve, reject) => ends.push({ resolve, reject }));
  }, intervalMs);
  return { queue, writes, endOne: () => ends.shift()!.resolve(), failOne: () => ends.shift()!.reject(new Error('the disk is gone')) };
}

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

describe('segments on their way into the record', () => {
  it('are written at once after a quiet time, together where they come quickly', async () => {
    const { queue, writes, endOne } = queueOf(600);
    await queue.add(segment(0));
    expect(writes).toEqual([[0]]);
    endOne();
    await queue.add(segment(1));
    await queue.add(segment(2));
    expect(writes).toEqual([[0]]);
    await jest.advanceTimersByTimeAsync(700);
    expect(writes).toEqual([[0], [1, 2]]);
    endOne();
    await jest.advanceTimersByTimeAsync(700);
    await queue.add(segment(3));
    expect(writes).toEqual([[0], [1, 2], [3]]);
  });
  it('are one write and one segment ahead at most while the store does not answer', async () => {
    const { queue, writes, endOne } = queueOf(0);
    await queue.add(segment(0));
    let added = false;
    const second = queue.add(segment(1)).then(() => {
      added = true;
    });
    await jest.advanceTimersByTimeAsync(20);
    expect(added).toBe(false);
    endOne();
    await second;
    expect(writes).toEqual([[0], [1]]);
  });
  it('are all written when a caller waits for the record', async () => {
    const { queue, writes, endOne } = queueOf(60_000);
    await queue.add(segment(0));
    endOne();
    await queue.add(segment(1));
    await queue.add(segment(2));
    const drained = queue.drain();
    await jest.advanceTimersByTimeAsync(1);
    expect(writes).toEqual([[0], [1, 2]]);
    endOne();
    await drained;
    await queue.drain();
    expect(writes).toHaveLength(2);
  });
  it('are not written any more after a write that failed, and everybody hears of it', async () => {
    const { queue, writes, failOne } = queueOf(0);
    await queue.add(segment(0));
    failOne();
    await expect(queue.add(segment(1))).rejects.toThrow('the disk is gone');
    await expect(queue.drain()).rejects.toThrow('the disk is gone');
    expect(writes).toEqual([[0]]);
  });
});
