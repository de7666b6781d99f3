import { smoothed } from './curve.js';

const steps = (count: number, width = 1): number[] => Array.from({ length: count }, (_, index) => (index + 1) * width - 1);

describe('a smoothed curve', () => {
  test('begins anew with each phase, since another objective has other values', () => {
    const values = [...Array<number>(155).fill(30), ...Array<number>(20).fill(2.6)];
    const line = smoothed(values, steps(175), { over: 10, phases: [0, 155] });
    expect(line[154]).toBeCloseTo(30, 10);
    expect(line[155]).toBe(2.6);
    expect(smoothed(values, steps(175), { over: 10, phases: [0] })[155]).toBeGreaterThan(20);
  });

  test('depends on steps, and not on how many steps a point stands for', () => {
    const slope = (width: number): number => {
      const all = steps(400 / width, width);
      return smoothed(all, all, { over: 20, phases: [0] }).at(-1)!;
    };
    expect(slope(1)).toBeCloseTo(slope(4), -1);
    const far = smoothed([0, 1], [0, 1_000], { over: 20, phases: [0] });
    expect(far[1]).toBeCloseTo(1, 10); // a value from a thousand steps before has no weight
  });

  test('passes over missing values', () => {
    expect(smoothed([1, null, 1], [0, 1, 2], { over: 2, phases: [] })).toEqual([1, null, 1]);
  });
});
