// Tests the driver's next action on a run, given what is recorded about the run.
import { launched, segment, stateAt, Story } from '../pruning-run/testing.js';
import { nextAction } from './run-reactions.js';

const stepsFrom = (first: number, count: number): number[] => Array.from({ length: count }, (_, index) => first + index);

/** Trains up to `step`. The steps in `skipped` are reported as skipped. */
function train(story: Story, step: number, skipped: number[] = []): Story {
  story.when(segment(story.state.current?.step ?? 0, stateAt(step, 0), story.state.attempt, skipped));
  return story;
}

const next = (story: Story): unknown => nextAction(story.state, story.state.attempt, false);
const givenUp = (skipped: number, judged: number): unknown =>
  expect.objectContaining({
    kind: 'giveUp',
    code: 'STEPS_SKIPPED',
    message: expect.stringContaining(`${skipped} of the last ${judged} steps were skipped`) as string,
  });

describe('a run whose steps are skipped', () => {
  it('is given up after 20 steps when more than half were skipped', () => {
    const story = train(new Story(launched()).start(), 10, stepsFrom(0, 10));
    expect(next(story)).toEqual({ kind: 'train' });
    expect(next(train(story, 20, [10]))).toEqual(givenUp(11, 20));
  });

  it('goes on when half were skipped', () => {
    expect(next(train(new Story(launched()).start(), 20, stepsFrom(0, 10)))).toEqual({ kind: 'train' });
  });

  it('is given up when it stops learning late, whatever it learned before', () => {
    const story = train(new Story(launched({ totalSteps: 1000 })).start(), 500);
    expect(next(train(story, 550, stepsFrom(500, 50)))).toEqual({ kind: 'train' });
    expect(next(train(story, 551, [550]))).toEqual(givenUp(51, 100));
  });

  it('is judged by the whole of a long segment', () => {
    const story = train(new Story(launched({ totalSteps: 1000 })).start(), 100);
    expect(next(train(story, 600, stepsFrom(100, 251)))).toEqual(givenUp(251, 500));
  });

  it('never completes, however short it was', () => {
    const story = train(new Story(launched({ totalSteps: 3 })).start(), 3, [0, 1]);
    expect(next(story)).toEqual(givenUp(2, 3));
    story.when({ kind: 'fail', attempt: 1, code: 'STEPS_SKIPPED', message: 'x', field: '' });
    expect(story.state).toMatchObject({ status: 'failed', failure: { code: 'STEPS_SKIPPED' } });
  });

  it('gets another chance when it is resumed', () => {
    const story = train(new Story(launched()).start(), 20, stepsFrom(0, 20));
    story.when({ kind: 'fail', attempt: 1, code: 'STEPS_SKIPPED', message: 'x', field: '' });
    story.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false });
    story.start(2);
    expect(next(story)).toEqual({ kind: 'train' });
    expect(next(train(story, 39, stepsFrom(20, 19)))).toEqual({ kind: 'train' });
    expect(next(train(story, 40, [39]))).toEqual(givenUp(20, 20));
  });
});

describe('an evaluation at the end that fails', () => {
  const story = train(new Story(launched()).start(), 100);
  const after = (code: string): unknown => nextAction(story.state, 1, false, { code, message: 'why' });

  it('leaves the run to complete without it', () => {
    expect(after('ARTIFACT_MISSING')).toEqual({ kind: 'complete' });
  });

  it('fails the run when the model itself gives no finite values', () => {
    expect(after('EVALUATION_NOT_FINITE')).toEqual({ kind: 'giveUp', code: 'EVALUATION_NOT_FINITE', message: 'why', field: '' });
  });

  it('is asked for before anything is concluded', () => {
    expect(next(story)).toEqual({ kind: 'evaluate', subject: 'intact' });
  });
});

it('a run whose state is damaged at an engine that may only evaluate waits until its numerics are accepted', () => {
  const story = train(new Story(launched({ totalSteps: 10 })).start(), 10);
  story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'engine', code: 'ENGINE_LOST', message: 'x' });
  story.start(2, 'f2');
  expect(next(story)).toEqual({ kind: 'evaluate', subject: 'intact' });
  story.when({ kind: 'fallBack', attempt: 2, stateDigest: null });
  expect(next(story)).toMatchObject({ kind: 'giveUp', code: 'NUMERICS_CHANGED' });
});

it('a fork is judged by its own steps', () => {
  const parent = train(new Story(launched()).start(), 30, stepsFrom(0, 20));
  const story = new Story();
  story.when({
    kind: 'fork',
    runId: 'child',
    name: '',
    requestId: 'q',
    requestDigest: 'q',
    parent: parent.state,
    from: { kind: 'last' },
    overrides: {},
    data: null,
  });
  story.start();
  expect(story.state.latestSkips).toEqual({ fromStep: 30, steps: [] });
  expect(next(train(story, 45, stepsFrom(30, 15)))).toEqual({ kind: 'train' });
  expect(next(train(story, 50, stepsFrom(45, 5)))).toEqual(givenUp(20, 20));
});
