import type { TeacherChoice } from '../record/pruning-run.events.js';
import { planSegment } from './segment-plan.js';
import { launched, stateAt, Story } from '../testing.js';
import { planTraining, teachersOf, type TeachersHeld, type TrainingPlan } from './training-plan.js';

const holding = (teachersHeld: number, teachersKept = 64): TeachersHeld => ({
  teachersHeld,
  teachersKept,
  holdsTeacher: () => true,
  stillHolds: () => true,
  readsFiles: false,
  fileOf: () => null,
});
/** An engine that holds no snapshot and can read those of the given marks from files. */
const reading = (story: Story, marks: number[]): TeachersHeld => ({
  ...holding(0, 2),
  holdsTeacher: () => false,
  stillHolds: () => false,
  readsFiles: true,
  fileOf: (digest) => {
    const mark = story.state.teachers.find(({ state }) => state.stateDigest === digest)?.mark ?? 0;
    return marks.includes(mark) ? `/objects/${mark}` : null;
  },
});
const named = (teacher: TeacherChoice | TrainingPlan['marks'][number]['teacher']): unknown => {
  if (teacher?.kind === 'mark') return `taken at ${teacher.index}`;
  return teacher?.kind === 'snapshot' ? teacher.mark : (teacher?.kind ?? null);
};
const marksOf = (story: Story, engine: TeachersHeld): unknown[] =>
  planTraining(story.state, engine).marks.map(({ expectedSparsity, teacher }) => [expectedSparsity, named(teacher)]);

describe('what an engine trains in one go', () => {
  it('goes on over marks to the target, with snapshots that it takes on the way as teachers', () => {
    const story = new Story(launched({ targetSparsity: 0.07, teacherGapMarks: 3 })).start();
    // After the first two snapshots the intact model goes on teaching. After the third, the first snapshot teaches; it is not taken yet.
    expect(marksOf(story, holding(0))).toEqual([
      [0.01, 'intact'],
      [0.02, 'intact'],
      [0.03, 'taken at 0'],
      [0.04, 'taken at 1'],
      [0.05, 'taken at 2'],
      [0.06, 'taken at 3'],
      [0.07, null],
    ]);
    story.train(stateAt(4, 0.011), stateAt(6, 0.022), stateAt(8, 0.031), stateAt(10, 0.042));
    expect(planTraining(story.state, holding(4)).stretches.map(({ teacher }) => named(teacher))).toEqual([2]);
    expect(marksOf(story, holding(4))).toEqual([
      [0.05, 3],
      [0.06, 4],
      [0.07, null],
    ]);
  });
  it('ends at the target, where phases begin that depend on the step that reaches it', () => {
    const story = new Story(launched({ targetSparsity: 0.025, teacherGapMarks: 10 })).start();
    expect(marksOf(story, holding(0))).toEqual([
      [0.01, 'intact'],
      [0.02, 'intact'],
      [0.025, null],
    ]);
  });
  it('ends before the engine would have to let go of a snapshot', () => {
    const story = new Story(launched({ targetSparsity: 0.5, teacherGapMarks: 3 })).start();
    story.train(stateAt(4, 0.011), stateAt(6, 0.022), stateAt(8, 0.031), stateAt(10, 0.042));
    expect(marksOf(story, holding(4, 5))).toEqual([
      [0.05, 3],
      [0.06, null],
    ]);
    expect(marksOf(story, holding(4, 4))).toEqual([[0.05, null]]);
    // The engine holds no snapshot and has room for four: the present teacher, those after the next two marks, and two new snapshots.
    const empty: TeachersHeld = { ...holding(0, 4), holdsTeacher: () => false };
    expect(marksOf(story, empty)).toEqual([
      [0.05, 3],
      [0.06, null],
    ]);
    expect(teachersOf(planTraining(story.state, empty)).map(named)).toEqual([2, 3]);
  });
  it('goes on with snapshots that the engine reads from files, however few it can hold, until one is in no file yet', () => {
    const story = new Story(launched({ targetSparsity: 0.5, teacherGapMarks: 3 })).start();
    story.train(stateAt(4, 0.011), stateAt(6, 0.022), stateAt(8, 0.031), stateAt(10, 0.042));
    const whole = reading(story, [1, 2, 3, 4]);
    expect(marksOf(story, whole)).toEqual([
      [0.05, 3],
      [0.06, 4],
      [0.07, null],
    ]);
    expect(planTraining(story.state, whole).teacherFiles.map(({ file }) => file)).toEqual(['/objects/2', '/objects/3', '/objects/4']);
    expect(marksOf(story, reading(story, [1, 2, 3]))).toEqual([
      [0.05, 3],
      [0.06, null],
    ]);
    const held = { ...reading(story, [1, 2, 3]), stillHolds: (_: TeacherChoice, others: number) => others <= 4 };
    expect(marksOf(story, held)[1]).toEqual([0.06, 4]);
  });
  it('goes on with a snapshot of its own only while the engine still has it: two marks later, after four others', () => {
    const story = new Story(launched({ targetSparsity: 0.5, teacherGapMarks: 3 })).start();
    story.train(stateAt(4, 0.011), stateAt(6, 0.022), stateAt(8, 0.031), stateAt(10, 0.042));
    const files = reading(story, [1, 2, 3, 4]);
    expect(marksOf(story, { ...files, teachersKept: 4 }).slice(2)).toEqual([[0.07, null]]);
    expect(marksOf(story, { ...files, teachersKept: 5 }).slice(2, 4)).toEqual([
      [0.07, 'taken at 0'],
      [0.08, 'taken at 1'],
    ]);
  });
  it('is sixteen segments at most, or all steps that are left', () => {
    const story = new Story(launched({ targetSparsity: 0.5, totalSteps: 1000 })).start();
    expect(planTraining(story.state, holding(0))).toMatchObject({ firstStep: 0, endStep: 160, segmentSteps: 10, maxSegments: 16 });
    story.train(stateAt(995, 0.001));
    const plan = planTraining(story.state, holding(0));
    expect(plan).toMatchObject({ firstStep: 995, endStep: 1000 });
    expect(plan.loraLearningRates).toHaveLength(5);
  });

  // The target is reached at step 10 of 100 with 4 snapshots. They instruct from steps 10, 29, 47 and 65 on, and the intact model from 83
  // on.
  const afterTarget = (segmentSteps: number): Story =>
    new Story(launched({ targetSparsity: 0.05, teacherGapMarks: 1, segmentSteps })).start().train(stateAt(10, 0.06));
  it('runs across changes of teachers after the target', () => {
    const plan = planTraining(afterTarget(15).state, holding(4));
    expect(plan).toMatchObject({ firstStep: 10, endStep: 100, marks: [] });
    expect(plan.stretches.map(({ firstStep, teacher }) => [firstStep, named(teacher)])).toEqual([
      [10, 4],
      [29, 3],
      [47, 2],
      [65, 1],
      [83, 'intact'],
    ]);
  });
  it('ends with a segment where one more snapshot is needed than the engine can hold, so that a run is cut alike', () => {
    const plan = planTraining(afterTarget(15).state, holding(2, 2));
    expect(plan).toMatchObject({ firstStep: 10, endStep: 40 }); // the change at 47 lies within the third segment
    const story = afterTarget(15);
    expect(planTraining(story.state, reading(story, [1, 2, 3, 4])).endStep).toBe(100); // the engine reads each snapshot in time
    const long = afterTarget(60).state;
    expect(planTraining(long, holding(2, 2)).endStep).toBe(planSegment(long, 2).endStep);
  });
});
