// Tests priorities of runs and the time in which their attempts had an engine: given events, then seconds.
import type { NewFact } from '../record/pruning-run.events.js';
import { encodeFacts } from '../record/stored-event.js';
import { AT, launched, sparsities, stateAt, Story } from '../testing.js';
import { engineSecondsAt } from './engine-time.js';
import { fold, type PruningRunState } from './pruning-run.js';

const START = Date.parse(AT);
/** Folds facts. Each comes with the seconds from the launch until it happened. */
function folded(facts: readonly NewFact[], seconds: readonly number[]): PruningRunState {
  const timed = facts.map((one, index) => ({ ...one, at: new Date(START + seconds[index]! * 1_000).toISOString() }));
  return fold(encodeFacts(timed, '', () => '').events)!;
}

test('an attempt counts from its start to the event that ends it, and while it is under way', () => {
  const story = new Story(launched()).start(); // RunLaunched, AttemptStarted, EngineAttached, ...
  story.when({ kind: 'cancel', reason: '' });
  const seconds = story.facts.map((_, index) => 10 * index);
  const ended = folded(story.facts, seconds);
  expect(ended.engineSeconds).toBe(seconds.at(-1)! - 10);
  const underWay = folded(story.facts.slice(0, -1), seconds);
  expect([underWay.engineSeconds, engineSecondsAt(underWay, START + 500_000)]).toEqual([0, 490]);
  expect(engineSecondsAt(ended, START + 500_000)).toBe(ended.engineSeconds);
});

test('attempts add up, and the time between them does not count', () => {
  const story = new Story(launched()).start();
  story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'engine', code: 'ENGINE_LOST', message: 'x' });
  const first = story.facts.length;
  story.start(2);
  story.when({ kind: 'requestPause' });
  story.when({ kind: 'confirmPause', by: 'request' });
  const seconds = story.facts.map((_, index) => (index < first ? index : 1_000 + index));
  expect(folded(story.facts, seconds).engineSeconds).toBe(first - 1 - 1 + (seconds.at(-1)! - seconds[first]!));
});

test('the attempt of a server that died ends with its last event, however late it is closed', () => {
  const story = new Story(launched()).start().train(stateAt(10, 0.01));
  const known = story.facts.length;
  story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'orchestrator', code: 'ORCHESTRATOR_RESTARTED', message: 'x' });
  const seconds = story.facts.map((_, index) => (index < known ? index : 86_400));
  expect(folded(story.facts, seconds).engineSeconds).toBe(known - 1 - 1);
});

test('a clock that was set back takes no time away', () => {
  const story = new Story(launched()).start();
  story.when({ kind: 'cancel', reason: '' });
  expect(
    folded(
      story.facts,
      story.facts.map((_, index) => -index),
    ).engineSeconds,
  ).toBe(0);
});

describe('a priority', () => {
  it('is recorded when it changes, and the same one again is not', () => {
    const story = new Story(launched());
    expect(story.state.priority).toBe(0);
    expect(story.when({ kind: 'prioritize', priority: 7 })).toMatchObject([{ type: 'RunPrioritized', data: { priority: 7 } }]);
    expect(story.when({ kind: 'prioritize', priority: 7 })).toEqual([]);
    expect(story.state.priority).toBe(7);
  });

  it('may change while the run trains, and not when it has ended', () => {
    const story = new Story(launched()).start();
    story.when({ kind: 'prioritize', priority: -3 });
    expect(story.state).toMatchObject({ priority: -3, attemptOpen: true });
    const { step, stateDigest } = stateAt(10, 0);
    story.facts.push({
      type: 'RunCompleted',
      at: AT,
      data: { step, stateDigest, ...sparsities(0), trainingSeconds: 1, evaluationError: null },
    });
    expect(() => story.when({ kind: 'prioritize', priority: 1 })).toThrow(expect.objectContaining({ code: 'RUN_FINISHED' }) as Error);
  });
});
