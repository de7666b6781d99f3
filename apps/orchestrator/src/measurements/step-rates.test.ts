import { scatterOf } from './step-rates.js';

test('a stalled step changes how slow steps are, but not the typical one', () => {
  const quiet = Array.from({ length: 20 }, (_, i) => 0.1 + i / 10_000);
  const stalled = [...quiet, 30, 40, 50];
  expect(scatterOf(stalled).typical).toBeCloseTo(scatterOf(quiet).typical, 2);
  expect(scatterOf(stalled).fast).toBeCloseTo(0.1, 2);
  expect(scatterOf(stalled).slow).toBeGreaterThan(1);
  expect(scatterOf([0.2])).toEqual({ fast: 0.2, typical: 0.2, slow: 0.2 });
});
