import { resolveSettings } from '../method/run-settings.js';
import { diskPlan, diskWarnings } from './disk-plan.js';

const settings = resolveSettings({ targetSparsity: 0.05, totalSteps: 100, recoverSteps: 50 }); // recovery of all weights
const memory = { stateBytes: 10n, ownStateBytes: 1_000n } as Parameters<typeof diskPlan>[1];

const taken = (...fork: [step: number, mark: number] | []) => {
  const [step, mark] = fork;
  const teachers = Array.from({ length: mark ?? 0 }, (_, index) => ({ mark: index + 1, threshold: (index + 1) / 100, state: STATE }));
  const before = step === undefined ? undefined : { current: { step }, teachers, targetReachedStep: null };
  const { teachers: more, totalBytes } = diskPlan(settings, memory, undefined, { fork: before });
  return [more, totalBytes];
};
const STATE = { step: 0, stateDigest: '', expectedSparsity: 0 };

test('a launch takes a snapshot at each mark below the target and one at the end of pruning, beside the last two states', () => {
  expect(taken()).toEqual([5, 50n + 2_000n]);
});

test('a fork takes those after its beginning', () => {
  expect(taken(40, 3)).toEqual([2, 20n + 2_000n]);
});

test('a fork that only recovers takes none, and its states hold all weights', () => {
  expect(taken(100, 5)).toEqual([0, 2_000n]);
  expect(taken(120, 5)).toEqual([0, 2_000n]);
});

test('while the steps are still to be chosen, the plan names the most, and its warning says that it is the most', () => {
  const timed = resolveSettings({ targetSparsity: 0.05, time: 60 });
  const plan = diskPlan({ ...timed, warmupSteps: 2 }, memory, 100n, { stepsToChoose: true });
  expect(plan).toMatchObject({ teachers: 5, isMost: true });
  expect(diskWarnings(plan)[0]!.message).toMatch(/^up to 5 snapshots take at most /);
  const atOnce = resolveSettings({ preset: 'fisher', targetSparsity: 0.5, time: 60 });
  expect(diskPlan(atOnce, memory, undefined, { stepsToChoose: true })).toMatchObject({ teachers: 1 });
});
