import type { SettingName } from '#protocol';
import { runSeconds } from '../method/run-time.js';
import { followingSteps, resolveSettings, settingsViolations, timeViolations, type RequestedSettings } from '../method/run-settings.js';
import { endStepOf } from '../method/phases.js';
import { settingsOfFork } from './starting-points.js';
import type { NewFact, RunSettings, StepRates } from '../record/pruning-run.events.js';
import { fact, launched, model, Story } from '../testing.js';

const rates: StepRates = {
  stepOpen: 0.2,
  stepAtTarget: 0.1,
  closing: 0,
  recoveryStart: 1,
  recoveryStep: 0.05,
  segmentEnd: 0.01,
  evaluationStart: 0,
  evaluatedToken: 0.001,
  evaluatedTokenAtTarget: 0.0005,
};

/** A run with a time, as a launch that names these settings records it. */
function timed(requested: RequestedSettings): Story {
  const { data } = launched() as Extract<NewFact, { type: 'RunLaunched' }>;
  const settings = resolveSettings(requested, model);
  const story = new Story(fact('RunLaunched', { ...data, settings, following: followingSteps(requested) }));
  story.when({ kind: 'startAttempt', attempt: 1 });
  return story;
}
const choose = { kind: 'chooseSteps', attempt: 1, rates, spentSeconds: 10 } as const;
const chosenBy = (story: Story): { settings: Partial<RunSettings>; expectedSeconds: number } => {
  const [chosen] = story.when(choose);
  return (chosen as Extract<NewFact, { type: 'StepsChosen' }>).data;
};
const refusal = (code: string, words: string): Error => expect.objectContaining({ code, message: expect.stringContaining(words) });

describe('a run with a time', () => {
  it('gets as many steps as fit the time, eight of recovery for each of pruning, and all that follows from them', () => {
    const story = timed({ time: 600 });
    const { expectedSeconds } = chosenBy(story);
    const { settings, phases, following } = story.state;
    const { totalSteps, recoverSteps } = settings;
    expect(expectedSeconds).toBeLessThanOrEqual(600);
    expect(expectedSeconds).toBeGreaterThan(599);
    expect(Math.floor(recoverSteps / 8)).toBe(totalSteps);
    expect(phases.at(-1)!.endStep).toBe(endStepOf(settings));
    expect(following).toBeUndefined();
    // Its settings are those of a run that named these steps, except for the time.
    expect({ ...settings, time: 0 }).toEqual(resolveSettings({ totalSteps, recoverSteps }, model));
    expect(runSeconds(story.state, rates)).toBeCloseTo(expectedSeconds - 10);
  });

  it('keeps what its request names', () => {
    const story = timed({ time: 600, warmupSteps: 7, evaluationTokens: 512, maskLearningRate: 0.3 });
    chosenBy(story);
    expect(story.state.settings).toMatchObject({ warmupSteps: 7, evaluationTokens: 512, maskLearningRate: 0.3 });
  });

  it.each<[string, RequestedSettings, Partial<RunSettings>]>([
    ['prunes in one step gives all of it to recovery', { recipe: 'wanda' }, { totalSteps: 1, recoverWeights: 'all' }],
    ['only prunes gives all of it to pruning', { preset: 'short' }, { recoverSteps: 0 }],
  ])('of a recipe that %s', (_what, requested, settings) => {
    const story = timed({ ...requested, time: 600 });
    expect(chosenBy(story).expectedSeconds).toBeGreaterThan(598);
    expect(story.state.settings).toMatchObject(settings);
    expect(endStepOf(story.state.settings)).toBeGreaterThan(1_000);
  });

  it('is measured once: the choice holds, whatever a later engine measures', () => {
    const story = timed({ time: 600 });
    const { settings } = chosenBy(story);
    expect(story.when({ ...choose, rates: { ...rates, recoveryStep: 5 } })).toEqual([]);
    expect(story.state.settings).toMatchObject(settings);
    expect(settingsOfFork(story.state.settings, {})).toEqual({ ...story.state.settings, time: 0 });
  });

  it('is refused with the shortest time that works', () => {
    const story = timed({ time: 20 });
    expect(() => story.when(choose)).toThrow(
      refusal('TIME_TOO_SHORT', 'is 20s: the shortest time that works here is 23s, with 10 of pruning'),
    );
    expect(() => timed({ time: 22 }).when(choose)).toThrow(refusal('TIME_TOO_SHORT', 'is 22s'));
    expect(typeof chosenBy(timed({ time: 23 })).expectedSeconds).toBe('number');
  });

  it('names the time or the steps, not both', () => {
    const words = (requested: RequestedSettings): string[] => timeViolations(requested).map(({ description }) => description);
    expect(words({ time: 60, totalSteps: 5, recoverSteps: 6 })).toEqual([
      'is 1m, but total_steps is 5 and recover_steps is 6: a time chooses the steps, so name the time or the steps',
    ]);
    expect(words({ time: 0 })).toEqual(['must be from 1s to 720h, is 0s']);
    expect([words({ time: 60 }), words({ totalSteps: 5 })]).toEqual([[], []]);
  });

  it('is refused once where it is below 0', () => {
    const requested = { time: -3 };
    const violations = [...timeViolations(requested), ...settingsViolations(resolveSettings(requested, model))];
    expect(violations.map(({ description }) => description)).toEqual(['must be from 1s to 720h, is -3s']);
  });
});

it('a perplexity of a short run is taken over the beginning of the text, and a baseline measures all', () => {
  const tokens = (requested: RequestedSettings): number => resolveSettings(requested, model).evaluationTokens;
  expect(tokens({ totalSteps: 2, recoverSteps: 0 })).toBe(4096);
  expect(tokens({ totalSteps: 60, recoverSteps: 400 })).toBe(16_384);
  expect(tokens({})).toBe(262_144);
  expect(tokens({ recipe: 'wanda' })).toBe(0);
});

it.each<RequestedSettings>([
  {},
  { preset: 'short' },
  { preset: 'paper', sparsityControl: 'tracking' },
  { preset: 'fisher', totalSteps: 1 },
  { targetSparsity: 0.2, recoverSchedule: 'linear' },
])('of %j no other setting follows from the steps than those that a time chooses', (requested) => {
  const of = (totalSteps: number, recoverSteps: number): RunSettings => resolveSettings({ totalSteps, recoverSteps, ...requested }, model);
  const [few, many] = [of(20, 30), of(2_000, 3_000)];
  const differing = (Object.keys(few) as SettingName[]).filter((name) => JSON.stringify(few[name]) !== JSON.stringify(many[name]));
  const chosen: SettingName[] = ['totalSteps', 'recoverSteps', ...followingSteps({})];
  expect(differing.filter((name) => !chosen.includes(name))).toEqual([]);
});
