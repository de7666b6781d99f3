import { CallRate } from './call-rate.js';

const refused = (rate: CallRate, actor: string, nowMs: number): boolean => {
  try {
    rate.count(actor, nowMs);
    return false;
  } catch (error) {
    expect((error as { code: string }).code).toBe('CALLS_TOO_FAST');
    return true;
  }
};

it('lets a person make the calls of two seconds at once, then the calls of one second each second; others are not held up', () => {
  const rate = new CallRate(5);
  expect(Array.from({ length: 12 }, () => refused(rate, 'ann', 0)).filter(Boolean)).toHaveLength(2);
  expect(refused(rate, 'bob', 0)).toBe(false);
  expect(refused(rate, 'ann', 100)).toBe(true);
  expect(refused(rate, 'ann', 250)).toBe(false);
  // A long pause saves up calls for no more than two seconds.
  expect(Array.from({ length: 12 }, () => refused(rate, 'ann', 3_600_000)).filter(Boolean)).toHaveLength(2);
});

it('has no limit without one', () => {
  const rate = new CallRate(null);
  expect(Array.from({ length: 1_000 }, () => refused(rate, 'ann', 0)).some(Boolean)).toBe(false);
});
