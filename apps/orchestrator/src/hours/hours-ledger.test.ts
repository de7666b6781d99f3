import { HALF_LIFE_MS, HoursLedger } from './hours-ledger.js';

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 5, 1);
const KEPT = 366 * 24 * HOUR;

class Attempts {
  readonly ledger = new HoursLedger(KEPT);
  private count = 0;

  /** Returns an attempt that began and ended the given numbers of hours ago; null: it is under way. */
  had(caller: string, fromHours: number, toHours: number | null, runId = `run${(this.count += 1)}`): this {
    const endedMs = toHours === null ? null : NOW - toHours * HOUR;
    this.ledger.note({ caller, runId, attempt: 1, startedMs: NOW - fromHours * HOUR, endedMs });
    return this;
  }

  hours(caller: string, lastHours = 24 * 30): number {
    return this.ledger.secondsSince(caller, NOW - lastHours * HOUR, NOW) / 3_600;
  }

  recentHours(caller: string, atMs = NOW): number {
    return this.ledger.recentSeconds(caller, atMs) / 3_600;
  }
}

test('attempts that ended and those under way add up, each once', () => {
  const given = new Attempts().had('ann', 5, null, 'r').had('ann', 5, 3, 'r').had('ann', 5, 3, 'r').had('ann', 1, null).had('bob', 9, 8);
  expect([given.hours('ann'), given.hours('bob'), given.hours('cat')]).toEqual([3, 1, 0]);
});

test('news of a start after that of the end opens nothing', () => {
  expect(new Attempts().had('ann', 5, 3, 'r').had('ann', 5, null, 'r').hours('ann')).toBe(2);
});

test('an attempt counts with its part in the last days', () => {
  const given = new Attempts().had('ann', 30, 20).had('ann', 100, 90);
  expect(given.hours('ann', 24)).toBe(4);
});

test('time of a day ago counts half for turns, in whatever order it is told', () => {
  const short = 0.001;
  const today = new Attempts().had('ann', short, 0);
  const before = new Attempts().had('ann', 24 + short, 24);
  expect(before.recentHours('ann') / today.recentHours('ann')).toBeCloseTo(0.5, 6);
  const one = new Attempts().had('ann', 50, 40).had('ann', 9, 7).had('ann', 1, null);
  const other = new Attempts().had('ann', 9, 7).had('ann', 1, null).had('ann', 50, 40);
  expect(one.recentHours('ann')).toBeCloseTo(other.recentHours('ann'), 9);
  expect(one.recentHours('ann')).toBeGreaterThan(3);
  expect(new Attempts().had('ann', 9, 7).recentHours('ann', NOW + HALF_LIFE_MS)).toBeCloseTo(
    new Attempts().had('ann', 9, 7).recentHours('ann') / 2,
    9,
  );
});

test('an attempt under way counts like one that ends now, and a clock that was set back counts nothing', () => {
  expect(new Attempts().had('ann', 3, null).recentHours('ann')).toBeCloseTo(new Attempts().had('ann', 3, 0).recentHours('ann'), 9);
  const back = new Attempts().had('ann', -2, null).had('ann', 1, 4);
  expect([back.hours('ann'), back.recentHours('ann')]).toEqual([0, 0]);
});
