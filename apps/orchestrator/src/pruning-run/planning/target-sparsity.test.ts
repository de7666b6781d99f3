import type { RunSettings } from '../record/pruning-run.events.js';
import { resolveSettings } from '../method/run-settings.js';
import { reachableSparsity, targetWarnings } from './target-sparsity.js';
import { launched, stateAt, Story } from '../testing.js';

const settings = (part: Partial<RunSettings>): RunSettings => resolveSettings({ preset: 'short', ...part });

test('the last event of a run says what was reached and what was asked for', () => {
  const story = new Story(launched({ targetSparsity: 0.5 })).start().train(stateAt(100, 0.33));
  story.when({ kind: 'complete', attempt: 1, evaluationError: null });
  expect(story.facts.at(-1)).toMatchObject({
    type: 'RunCompleted',
    data: { expectedSparsity: 0.33, hardSparsity: 0.33, targetSparsity: 0.5 },
  });
});

const multipliers = { sparsityControl: 'multipliers', lambdaLearningRate: 1 } as const;

describe('what the masks can reach', () => {
  // Steps, mask rate, and the sparsity that the engine reached (testdata/models/gqa-random-tiny, seed 42).
  it.each([
    [100, 0.02, 0.013],
    [150, 0.05, 0.555],
    [50, 0.1, 0.069],
    [60, 0.1, 0.143],
    [20, 0.5, 0.381], // with no warm-up
    [12, 2, 0.713],
    [10, 5, 0.779],
    [30, 0.3, 0.198],
    [100, 0.5, 0.758],
  ])('is not less than what multipliers reached in %d steps at %d', (steps, maskLearningRate, reached) => {
    expect(reachableSparsity({ ...multipliers, maskLearningRate }, steps).most).toBeGreaterThan(reached);
  });

  it('is not less than what multipliers reached that learn faster than usual', () => {
    expect(reachableSparsity({ ...multipliers, maskLearningRate: 0.5, lambdaLearningRate: 100 }, 20).most).toBeGreaterThan(0.833);
  });

  // The same model, and the bundled one, which reached its target of 95%.
  it.each([
    [2, 2.6458, 0.942],
    [20, 0.8367, 0.95],
  ])('is not less than what tracking reached in %d steps at %d', (steps, maskLearningRate, reached) => {
    const tracking = { maskLearningRate, sparsityControl: 'tracking', lambdaLearningRate: 0.02 } as const;
    expect(reachableSparsity(tracking, steps).most).toBeGreaterThan(reached);
  });

  it('lies around where it starts, and ends where log-alphas do', () => {
    const { least, most } = reachableSparsity({ ...multipliers, maskLearningRate: 0.1 }, 5, 0.4);
    expect(least).toBeLessThan(0.4);
    expect(most).toBeGreaterThan(0.4);
    expect(reachableSparsity({ ...multipliers, maskLearningRate: 0.1 }, 0, 0.4).most).toBeCloseTo(0.4, 6);
    expect(reachableSparsity({ ...multipliers, maskLearningRate: 10 }, 1000).most).toBeCloseTo(0.9977, 3);
  });
});

describe('before a launch', () => {
  const fields = (...parameters: Parameters<typeof targetWarnings>): string[] => targetWarnings(...parameters).map(({ field }) => field);

  it('nothing is said of the defaults, nor of a short run that has the steps', () => {
    expect(targetWarnings(settings({}))).toEqual([]);
    expect(targetWarnings(settings({ totalSteps: 150, targetSparsity: 0.8 }))).toEqual([]);
    expect(targetWarnings(settings({ preset: 'paper' }))).toEqual([]);
    expect(targetWarnings(settings({ targetSparsity: 0 }))).toEqual([]);
  });

  it('too few steps for the mask rate are said, with what they come to', () => {
    const [warning] = targetWarnings(settings({ totalSteps: 40, sparsityControl: 'multipliers' }));
    expect(warning).toMatchObject({ code: 'TARGET_OUT_OF_REACH', field: 'settings.mask_learning_rate' });
    expect(warning!.message).toMatch(/^in 40 steps at mask_learning_rate 0.1 the masks can reach at most 9\.\d%, the target is 50.0%/);
    const high = { targetSparsity: 0.95, sparsityControl: 'multipliers', maskLearningRate: 0.5 } as const;
    expect(fields(settings({ ...high, totalSteps: 20 }))).toEqual(['settings.mask_learning_rate']);
    expect(fields(settings({ ...high, totalSteps: 100 }))).toEqual([]);
    expect(fields(settings({ totalSteps: 40 }))).toEqual([]); // tracking makes longer moves
    expect(fields(settings({ totalSteps: 5, maskLearningRate: 0.1 }))).toEqual(['settings.mask_learning_rate']);
    expect(fields(settings({ maskLearningRate: 0.0001 }))).toEqual(['settings.mask_learning_rate']);
  });

  it('a schedule that has not got there at the last step is said', () => {
    const [warning] = targetWarnings(settings({ totalSteps: 150, warmupSteps: 150, targetSparsity: 0.8, schedule: 'linear' }));
    expect(warning).toBeUndefined(); // 79.5% is within a point of the target
    expect(fields(settings({ totalSteps: 60, warmupSteps: 60, targetSparsity: 0.7, maskLearningRate: 1 }))).toEqual([
      'settings.warmup_steps',
    ]);
  });

  it('a fork within recovery keeps the sparsity that it starts with', () => {
    const recovering = settings({ totalSteps: 100, recoverSteps: 900, targetSparsity: 0.4 });
    expect(targetWarnings(recovering, { step: 400, expectedSparsity: 0.404 })).toEqual([]);
    const [warning] = targetWarnings({ ...recovering, targetSparsity: 0.6 }, { step: 400, expectedSparsity: 0.404 });
    expect(warning).toMatchObject({ field: 'settings.total_steps' });
    expect(warning!.message).toMatch(
      /^no step of pruning is left, so the run keeps the 40.4% that its parent reached, and the target is 60.0%: a fork from a teacher/,
    );
  });

  it('a fork is measured from where it starts, also when it goes back to a lower target', () => {
    const more = settings({ totalSteps: 1010, targetSparsity: 0.7, sparsityControl: 'multipliers', maskLearningRate: 0.1 });
    expect(fields(more, { step: 1000, expectedSparsity: 0.69 })).toEqual([]);
    expect(fields(more, { step: 1000, expectedSparsity: 0.3 })).toEqual(['settings.mask_learning_rate']);
    const less = settings({ totalSteps: 1005, targetSparsity: 0.2, sparsityControl: 'multipliers', maskLearningRate: 0.1 });
    expect(targetWarnings(less, { step: 1000, expectedSparsity: 0.9 })[0]!.message).toMatch(/can reach at least \d\d\.\d%/);
  });
});
