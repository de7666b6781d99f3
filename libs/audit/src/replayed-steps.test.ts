// Tests what replays of a run add up to.
import { afterReplay, replaysBefore, replaySummary, type ReplayedSteps } from './replayed-steps.js';

const replay = (engineName: string, isOtherEngine: boolean, ...stretches: [first: number, end: number, agrees?: boolean][]) => ({
  cause: 'verification' as const,
  engineName,
  isOtherEngine,
  device: 'cpu',
  numericsFingerprint: 'f1',
  tolerance: null,
  stretches: stretches.map(([firstStep, endStep, agrees = true]) => ({ firstStep, endStep, stateDigest: 'a'.repeat(64), agrees })),
});
const after = (...replays: ReturnType<typeof replay>[]): ReplayedSteps[] => replays.reduce<ReplayedSteps[]>(afterReplay, []);

test('steps that several replays computed again count once, and those of other engines by themselves', () => {
  const known = after(replay('', false, [0, 30], [60, 90]), replay('lab', true, [20, 40]), replay('lab', true, [40, 50]));
  expect(replaySummary(known)).toEqual({ agreeing: 80, byOtherEngine: 30, differing: 0, engines: ['', 'lab'] });
});

test('the same replay once more changes nothing, however often it is made', () => {
  const once = after(replay('lab', true, [0, 30], [60, 90]));
  expect(after(...Array.from({ length: 20 }, () => replay('lab', true, [0, 30], [60, 90])))).toEqual(once);
});

test('steps that differ do not count as computed twice', () => {
  const known = after(replay('lab', true, [0, 30], [30, 40, false]));
  expect(replaySummary(known)).toMatchObject({ agreeing: 30, differing: 10 });
});

test('a rewind takes the steps behind it away', () => {
  const known = replaysBefore(after(replay('lab', true, [0, 30], [60, 90]), replay('', false, [50, 60])), 20);
  expect(replaySummary(known)).toEqual({ agreeing: 20, byOtherEngine: 20, differing: 0, engines: ['lab'] });
});
