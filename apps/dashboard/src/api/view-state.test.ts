import { hasOwnNote, retryDelayMs, viewPhase, type Trouble } from './view-state.js';

const trouble = (more: Partial<Trouble>): Trouble => ({
  code: 'X',
  message: '',
  fields: [],
  isAway: false,
  isLocked: false,
  isPassing: false,
  ...more,
});

describe('the state of what a view shows', () => {
  test.each([
    ['loading', undefined, undefined],
    ['ready', [], undefined],
    ['waiting', undefined, trouble({ isPassing: true })],
    ['failed', undefined, trouble({})],
    ['stale', [], trouble({})],
    ['stale', [], trouble({ isPassing: true })],
    ['locked', [], trouble({ isLocked: true })],
    ['locked', undefined, trouble({ isLocked: true })],
  ])('%s', (phase, data, one) => {
    expect(viewPhase({ data, trouble: one })).toBe(phase);
  });

  test('that the server is away is said once by the frame; a command that failed for it has its own note', () => {
    expect(hasOwnNote(trouble({ isAway: true, isOfPage: true }))).toBe(false);
    expect(hasOwnNote(trouble({ isAway: true }))).toBe(true);
    expect(hasOwnNote(trouble({ isOfPage: true }))).toBe(true);
    expect(hasOwnNote(trouble({ isLocked: true }))).toBe(false);
  });

  test('what passes is asked for again, ever more rarely; all else is not', () => {
    expect([0, 1, 2, 10].map((attempts) => retryDelayMs({ isPassing: true }, attempts))).toEqual([500, 1_000, 2_000, 8_000]);
    expect(retryDelayMs({ isPassing: false }, 0)).toBeNull();
  });
});
