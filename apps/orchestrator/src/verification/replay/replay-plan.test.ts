// Tests which teachers instruct which steps of a recorded segment, as read from its events alone.
import type { NewFact, RecordedEvent } from '../../pruning-run/record/pruning-run.events.js';
import { encodeFacts } from '../../pruning-run/record/stored-event.js';
import { launched, segment, stateAt, Story } from '../../pruning-run/testing.js';
import { partsOf, ReplayPlanner, type ReplaySegment } from './replay-plan.js';

const planned = (events: RecordedEvent[]): ReplaySegment[] => {
  const planner = new ReplayPlanner();
  events.forEach((event, revision) => planner.push(event, revision));
  return planner.segments;
};
const ofStory = ({ facts }: { facts: NewFact[] }): ReplaySegment[] => planned(encodeFacts(facts, '', () => '').events);
const taught = ({ stretches }: ReplaySegment): unknown[] =>
  stretches.map(({ firstStep, teacher }) => [firstStep, teacher.kind === 'snapshot' ? teacher.mark : teacher.kind]);
/** A run with phases of 18 steps after the target at step 10. */
const story = (): Story => new Story(launched({ targetSparsity: 0.05, teacherGapMarks: 1 })).start();

test('a segment has the teacher who instructed when it began, then those who took over within it', () => {
  expect(ofStory(story().train(stateAt(10, 0.06), stateAt(29, 0.06), stateAt(50, 0.06), stateAt(100, 0.06))).map(taught)).toEqual([
    [[0, 'intact']],
    [[10, 4]],
    [
      [29, 3],
      [47, 2],
    ],
    [
      [50, 2],
      [65, 1],
      [83, 'intact'],
    ],
  ]);
});

test('who instructed on an abandoned branch is forgotten', () => {
  const one = story().train(stateAt(3, 0.012), stateAt(10, 0.06));
  one.when(segment(10, stateAt(40, 0.06)));
  one.when({ kind: 'cancel', reason: '' });
  one.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
  one.start(2).train(stateAt(8, 0.013), stateAt(10, 0.06));
  expect(ofStory(one).map(taught)).toEqual([[[0, 'intact']], [[3, 1]], [[8, 1]]]);
});

test('its parts are one after the other, each with one teacher and its own steps', () => {
  const whole = ofStory(story().train(stateAt(10, 0.06), stateAt(50, 0.06)))[1]!;
  const parts = partsOf(whole);
  expect(parts.map(({ firstStep, stretches, isLast }) => [firstStep, stretches.length, isLast])).toEqual([
    [10, 1, false],
    [29, 1, false],
    [47, 1, true],
  ]);
  expect(parts.flatMap(({ loraLearningRates }) => loraLearningRates)).toEqual(whole.loraLearningRates);
  expect(parts.flatMap(({ scheduledSparsities }) => scheduledSparsities)).toEqual(whole.scheduledSparsities);
});
