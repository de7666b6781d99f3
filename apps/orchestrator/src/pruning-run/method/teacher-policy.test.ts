import { resolveSettings } from './run-settings.js';
import { nextMark, marksReached, nextTeacherChange, teacherAt, type PolicyInput, type TeacherSnapshot } from './teacher-policy.js';

const settings = resolveSettings({ preset: 'short' });
const snapshots = (count: number): TeacherSnapshot[] =>
  Array.from({ length: count }, (_, index) => ({
    mark: index + 1,
    threshold: Math.round((index + 1) * 1e7) / 1e9,
    state: { step: 8 * (index + 1), stateDigest: `state ${index + 1}`, expectedSparsity: (index + 1) / 100 },
  }));
const before = (count: number): PolicyInput => ({ settings, teachers: snapshots(count), targetReachedStep: null });
const markAt = (input: PolicyInput, step: number): number | string => {
  const { teacher } = teacherAt(input, step);
  return teacher.kind === 'snapshot' ? teacher.mark : teacher.kind;
};

describe('teachers before the target', () => {
  it('are intact while fewer than ten snapshots exist, then ten back', () => {
    expect([0, 9, 10, 11, 49].map((count) => markAt(before(count), 0))).toEqual(['intact', 'intact', 1, 2, 40]);
  });
  it('are one or none for the other recipes', () => {
    expect(markAt({ ...before(20), settings: { ...settings, recipe: 'distill' } }, 0)).toBe('intact');
    expect(markAt({ ...before(20), settings: { ...settings, recipe: 'lm' } }, 0)).toBe('none');
    expect(markAt({ ...before(0), settings: { ...settings, recipe: 'taylor' } }, 0)).toBe('none');
  });
  it('are not taken where the masks close at once', () => {
    expect(nextMark({ ...before(0), settings: { ...settings, recipe: 'wanda' } })).toBeNull();
  });
});

describe('teachers after the target', () => {
  // 49 snapshots and 1000 steps after the target at step 400: an interval is 1000 div 50 = 20 steps.
  const input: PolicyInput = { settings, teachers: snapshots(49), targetReachedStep: 400 };
  it('go from weak to strong to intact', () => {
    // With 1000 steps left, the phase is 50 - 10 = 40, the 41st snapshot. With 200 left it is 0, the first snapshot. With fewer, the intact
    // model instructs.
    expect(markAt(input, 400)).toBe(41);
    expect(markAt(input, 401)).toBe(40);
    expect(markAt(input, 1200)).toBe(1);
    expect(markAt(input, 1201)).toBe('intact');
    expect(markAt(input, 1399)).toBe('intact');
  });
  it('never start above the last snapshot', () => {
    expect(markAt({ settings, teachers: snapshots(3), targetReachedStep: 0 }, 0)).toBe('intact'); // the phase would be 4 - 10, below 0
    expect(markAt({ settings: { ...settings, teacherGapMarks: 1 }, teachers: snapshots(3), targetReachedStep: 0 }, 0)).toBe(3);
  });
  it('work without snapshots and with more snapshots than steps', () => {
    expect(markAt({ settings, teachers: [], targetReachedStep: 1 }, 1)).toBe('intact');
    expect([1390, 1391].map((step) => markAt({ settings, teachers: snapshots(49), targetReachedStep: 1390 }, step))).toEqual([1, 'intact']);
  });
  it('change exactly where nextTeacherChange says', () => {
    for (const teacherGapMarks of [1, 3, 10]) {
      for (const reached of [0, 1, 397, 1200, 1399]) {
        for (const count of [0, 1, 7, 49]) {
          const one: PolicyInput = { settings: { ...settings, teacherGapMarks }, teachers: snapshots(count), targetReachedStep: reached };
          let said: number | null = reached;
          const changes = new Set<number>();
          while ((said = nextTeacherChange(one, said)) !== null) changes.add(said);
          const actual = new Set<number>();
          for (let step = reached + 1; step < 1400; step += 1) if (markAt(one, step) !== markAt(one, step - 1)) actual.add(step);
          expect(actual).toEqual(changes);
        }
      }
    }
  });
});

describe('snapshots', () => {
  it('are due at each 1% below the target, all of those that one step crosses', () => {
    expect(nextMark(before(0))).toEqual({ mark: 1, threshold: 0.01 });
    expect(marksReached(before(28), 0.3123)).toEqual([29, 30, 31].map((mark) => ({ mark, threshold: mark / 100 })));
    expect(marksReached(before(48), 0.9)).toEqual([{ mark: 49, threshold: 0.49 }]);
    expect(nextMark(before(49))).toBeNull();
  });
  it('are not taken after the target, nor at a target of 0', () => {
    expect(marksReached({ ...before(5), targetReachedStep: 9 }, 0.4)).toEqual([]);
    expect(nextMark({ ...before(0), settings: { ...settings, targetSparsity: 0 } })).toBeNull();
  });
});
