import { phaseAt, stepMarks, teacherAt, type Assignment } from './marks.js';

const assignments: Assignment[] = [
  { fromStep: 0, endStep: 40, mark: 0, why: '' },
  { fromStep: 40, endStep: 60, mark: 3, why: '' },
  { fromStep: 60, endStep: 90, mark: null, why: '' },
];
const phases = [
  { kind: 'prune', firstStep: 0 },
  { kind: 'recover', firstStep: 60 },
];
const nothing = { assignments: [], phases: [], forkedAtStep: null, forks: [], rewinds: [], restarts: [] };

describe('marks on the curves of a run', () => {
  test('what happened, in the order of the steps', () => {
    const marks = stepMarks({
      assignments,
      phases,
      forkedAtStep: 5,
      forks: [{ name: 'gentler', step: 50 }],
      rewinds: [{ toStep: 20 }],
      restarts: [{ lastStep: 70, cause: 'engine' }],
    });
    expect(marks.map(({ step, kind }) => `${step} ${kind}`)).toEqual([
      '5 fork',
      '20 rewind',
      '40 teacher',
      '50 fork',
      '60 teacher',
      '60 phase',
      '70 restart',
    ]);
    expect(marks.map(({ words }) => words)).toContain('teacher #3 from here on');
  });

  test('where a run begins nothing has changed yet', () => {
    expect(stepMarks({ ...nothing, assignments: assignments.slice(0, 1), phases: phases.slice(0, 1) })).toEqual([]);
  });

  test('teacher and phase of a step', () => {
    const snapshots = [{ mark: 3, step: 21n, expectedSparsity: 0.06, abandoned: false }];
    expect([0, 39, 40, 75].map((step) => teacherAt({ assignments, snapshots }, step, 0.1))).toEqual([
      'intact model, 10.0 points less sparse',
      'intact model, 10.0 points less sparse',
      'teacher #3 of step 21, 4.0 points less sparse',
      'no teacher',
    ]);
    expect(teacherAt({ assignments, snapshots }, 40, null)).toBe('teacher #3 of step 21');
    expect([0, 59, 60].map((step) => phaseAt(phases, step))).toEqual(['prune', 'prune', 'recover']);
    expect(teacherAt({ assignments: [], snapshots: [] }, 3, 0)).toBe('');
  });
});
