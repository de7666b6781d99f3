import { resolveSettings } from '../method/run-settings.js';
import { diskPlan, diskWarnings } from './disk-plan.js';

const settings = resolveSettings({ targetSparsity: 0.05, totalSteps: 100, recoverSteps: 50 }); // recovery of all weights
const memory = { stateBytes: 10n, ownStateBytes: 1_000n } as Parameters<typeof diskPlan>[1];

const taken = (...fork: [step: number, mark: number] | []) => {
  const [step, mark] = fork;
  const teachers = Array.from({ length: mark ?? 0 }, (_, index) => ({ mark: index + 1, threshold: (index + 1) / 100, state: STATE }));
  const before = step === undefined ? undefined : { current: { step }, teachers, targetReachedStep: null };
  const { teachers: more, totalBytes, recordBytes } = diskPlan(settings, memory, undefined, { fork: before });
  return [more, totalBytes - recordBytes];
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

test('where a step passes several marks, the masks lag behind the schedule: the plan names the most, as such', () => {
  const steep = resolveSettings({ targetSparsity: 0.5, totalSteps: 40, recoverSteps: 40 }); // 21 were measured
  expect(diskPlan(steep, memory, undefined)).toMatchObject({ teachers: 26, isMost: true });
  const flat = resolveSettings({ targetSparsity: 0.5, totalSteps: 240, recoverSteps: 40 }); // 50 were measured
  expect(diskPlan(flat, memory, undefined)).toMatchObject({ teachers: 50, isMost: false });
});

test('the record counts too: it grows with the steps, and its journal only until it is full', () => {
  const recordOf = (recoverSteps: number) =>
    Number(diskPlan(resolveSettings({ preset: 'fisher', targetSparsity: 0.5, recoverSteps }), memory, undefined).recordBytes);
  expect(recordOf(99)).toBe(100 * 24_600 + 4_096);
  expect(recordOf(5_399)).toBe(5_400 * 600 + (4 << 20) + 4_096);
});

test('while the steps are still to be chosen, the plan names the most, and its warning says that it is the most', () => {
  const timed = resolveSettings({ targetSparsity: 0.05, time: 60 });
  const plan = diskPlan({ ...timed, warmupSteps: 2 }, memory, 100n, { stepsToChoose: true });
  expect(plan).toMatchObject({ teachers: 5, isMost: true });
  expect(diskWarnings(plan)[0]!.message).toMatch(/^up to 5 snapshots take at most /);
  const atOnce = resolveSettings({ preset: 'fisher', targetSparsity: 0.5, time: 60 });
  expect(diskPlan(atOnce, memory, undefined, { stepsToChoose: true })).toMatchObject({ teachers: 1 });
});
