import { NotBegun } from '../event-sourcing/not-begun-error.js';
import { v1 } from '#protocol';
import { encodeFacts } from '../event-sourcing/event-codec.js';
import { budgetOf } from '../pruning-run/method/budget.js';
import { resolveSettings, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import type { Budget, RunSettings } from '../pruning-run/record/pruning-run.events.js';
import { groupedShape } from '../pruning-run/testing.js';
import { figureOf } from '../views/mean-and-spread.js';
import { studyTable } from './study-figures.js';
import { studyMessage } from './study-message.js';
import { keepsEarlierDefaults, planRun, runIdOfStudy, settingsToLaunch, type RunOfStudy } from './study-plan.js';
import { studyEventTypes, type NewStudyFact, type PlannedRun } from './study.events.js';
import { decide, evolve, laterParts, waitingRuns, type StudyChange, type StudyState } from './study.js';

const at = '2026-01-01T00:00:00.000Z';
const asked = (settings: RunOfStudy['settings'], variant = 'a'): RunOfStudy => ({
  variant,
  modelPath: '/m',
  data: { trainPath: '/t', validationPath: '/v' },
  settings,
});
const run = (seed: string, variant?: string): PlannedRun => planRun(asked({ seed }, variant));
const planOf =
  (settings: RunSettings, budget: Budget | null = null) =>
  async () =>
    Promise.resolve({ settings, budget });
const launch = (runs: PlannedRun[], atOnce = 2): StudyChange => ({ kind: 'launch', studyId: 's', name: 'n', note: '', atOnce, runs });

function after(state: StudyState | null, ...changes: StudyChange[]): StudyState {
  for (const change of changes) {
    const facts = decide(state, change, at);
    const { events } = encodeFacts<NewStudyFact>(studyEventTypes, facts, state?.chain ?? '', (index) => `${index}`);
    state = events.reduce<StudyState | null>((before, event) => evolve(before, event), state);
  }
  return state!;
}

describe('a study', () => {
  it('has each run once, by model, data and complete settings', () => {
    expect(planRun(asked({ targetSparsity: 0.5 })).key).toBe(planRun(asked({})).key); // 0.5 is the default
    expect(planRun(asked({}, 'b')).key).toBe(planRun(asked({})).key); // only the name differs
    expect(planRun(asked({ recipe: 'wanda' })).key).not.toBe(planRun(asked({})).key);
    expect(planRun({ ...asked({}), modelPath: '/other' }).key).not.toBe(planRun(asked({})).key);
  });
  it('is refused with two variants that ask for one run, in a request or in the study, and names both', () => {
    const refusal = (words: RegExp, field = 'runs[1]') =>
      expect.objectContaining({ violations: [{ field, code: 'REQUEST_INVALID', description: expect.stringMatching(words) as string }] });
    const twins = launch([run('1'), run('1', 'twin'), run('2')]);
    expect(() => decide(null, twins, at)).toThrow(refusal(/^"twin" asks for the same run as "a", runs\[0\]: /));
    expect(() => decide(null, launch([run('1'), run('1')]), at)).toThrow(refusal(/^"a" asks for the same run as "a", runs\[0\]: /));
    const first = after(null, launch([run('1')]));
    expect(() => decide(first, launch([run('1', 'renamed')]), at)).toThrow(
      refusal(/^"renamed" asks for the same run as "a", which the study has already: /, 'runs[0]'),
    );
    expect(() => decide(first, launch([run('1'), run('2'), run('2', 'twin')]), at)).toThrow(refusal(/^"twin" .* runs\[1\]: /, 'runs[2]'));
  });
  it('tells what a later release planned a run with and this one does not know', () => {
    const settings = { recipe: 'lm', gates: ['head', 'unit', 'hidden', 'expert'], maskShape: 'round' } as unknown as RequestedSettings;
    const data = { trainPath: '/t', validationPath: '/v', textFilter: 'english' };
    const planned = { ...run('1'), settings, data, rateByDepth: true };
    expect(laterParts(after(null, launch([planned])).runs[0]!)).toEqual(['rateByDepth', 'data.textFilter', 'gates expert', 'maskShape']);
    expect(laterParts(after(null, launch([run('1')])).runs[0]!)).toEqual([]);
  });
  it('records the preset of each run, so that another default changes no study; those of the first release had short', () => {
    const now = after(null, launch([run('1')]));
    expect(now.runs[0]!.settings).toEqual({ preset: 'nuteprune2', seed: '1' });
    const earlier = after(null, launch([{ ...run('1'), settings: { seed: '1' } }]));
    expect(earlier.runs[0]!.settings).toEqual({ preset: 'short', seed: '1' });
  });
  it('keeps the settings of runs that were planned when the preset had other defaults', () => {
    const settingsOf = (one: PlannedRun): PlannedRun['settings'] => after(null, launch([one])).runs[0]!.settings;
    // Keys are of complete settings. Later the rate followed from the target, and first it was one at any target.
    const keeps = (given: RequestedSettings, longer: RequestedSettings, rates = { linear: 0.001, cosine: 0.0007 }): void => {
      const now = planRun(asked(given));
      expect(settingsOf(now)).toEqual(now.settings);
      const { totalSteps = 600 } = given;
      const shorter: RequestedSettings = given.recoverSteps === undefined ? { totalSteps, recoverSteps: 4 * totalSteps } : {};
      const { key } = planRun(asked({ ...given, ...shorter }));
      expect(resolveSettings(settingsOf({ ...now, key }))).toEqual(resolveSettings({ ...now.settings, ...shorter }));
      const byPredictions: RequestedSettings = { ...longer, recoverSchedule: 'cosine', recoverLayerLossWeight: 0 };
      for (const earlier of [longer, byPredictions, { ...byPredictions, recoverLearningRate: 0.0007 }]) {
        const rate = { recoverLearningRate: rates[earlier.recoverSchedule ?? 'linear'], ...earlier };
        const { key } = planRun(asked({ ...given, ...rate }));
        expect(resolveSettings(settingsOf({ ...now, key }))).toEqual(resolveSettings({ ...now.settings, ...rate }));
      }
    };
    const little = { linear: 0.00036, cosine: 0.00025 };
    keeps({ targetSparsity: 0.3 }, { loraRank: 64, maskNoise: 1, totalSteps: 800, recoverSteps: 2000 }, little);
    keeps({ targetSparsity: 0.3, totalSteps: 401 }, { loraRank: 64, maskNoise: 1, recoverSteps: 1002 }, little);
    keeps({ recipe: 'wanda', recoverSteps: 30 }, { loraRank: 64, maskNoise: 1 });
  });
  it('knows the keys that an earlier release made', () => {
    const longer = { loraRank: 64, maskNoise: 1, totalSteps: 800, recoverSteps: 2000, recoverLearningRate: 0.00036 };
    const shorter = { totalSteps: 600, recoverSteps: 2400 };
    for (const [given, keptSettings, key] of [
      [{}, shorter, 'ad65ef1e728521a8'],
      [{ targetParams: 2_112_078 }, shorter, '5a188a47381e6c9f'],
      [{ targetSparsity: 0.3 }, { ...shorter, recoverLearningRate: 0.00036 }, '77de0c20a183b4d2'],
      [{ targetSparsity: 0.3 }, longer, '3ab4a4e6cd8de566'],
      [{ recipe: 'wanda', recoverSteps: 30 }, { loraRank: 64, maskNoise: 1, recoverLearningRate: 0.001 }, 'a4d8fb5f7288582f'],
      [{ preset: 'short', seed: '1' }, {}, '457bf5a4bc74f906'],
    ] as const) {
      const planned = planRun(asked(given));
      const { settings } = after(null, launch([{ ...planned, key }])).runs[0]!;
      expect(settings).toEqual({ ...planned.settings, ...keptSettings });
      expect(planRun(asked(settings)).key).toBe(key);
    }
  });
  it('keeps the rate of recovery of runs that were planned when it followed from the share of a whole budget', async () => {
    const now = planRun(asked({ targetParams: 2_112_078 }));
    const completed = planOf(resolveSettings({ ...now.settings, targetSparsity: 0.387 })); // a plan has that share
    expect(await settingsToLaunch(now, completed)).toEqual(now.settings);
    const { budgetRate, rateByWidth, ...earlier } = now;
    expect([budgetRate, rateByWidth]).toEqual(['prunable share', true]);
    expect(await settingsToLaunch(earlier, completed)).toEqual({ ...now.settings, recoverLearningRate: 0.00056 });
    for (const other of [{ recoverLearningRate: 0.0003 }, { preset: 'short' }] satisfies RequestedSettings[]) {
      const planned = planRun(asked({ targetParams: 2_112_078, ...other }));
      expect(planned).not.toHaveProperty('budgetRate');
      expect(await settingsToLaunch(planned, completed)).toEqual(planned.settings);
    }
  });
  it('keeps the rate of recovery of runs that were planned when it followed from the share of the prunable seconds', async () => {
    const now = planRun(asked({ targetSpeedup: 1.5, speedTable: 'a'.repeat(64) }));
    const longer: RequestedSettings = { loraRank: 64, maskNoise: 1, totalSteps: 800, recoverSteps: 2000 };
    const { key } = planRun({ ...asked({ ...now.settings, ...longer }), budgetRate: 'prunable share' });
    const earlier = after(null, launch([{ ...now, key }])).runs[0]!;
    // A tenth of the intact model's seconds is fixed, so that a third of all seconds is 37% of the prunable ones.
    const budget: Budget = { setting: 'targetSpeedup', intact: 10, least: 2, kvHeads: 1, cost: [0, 0, 0, 1, 0, 0, 0, 0] };
    const planned = (settings: RequestedSettings) => planOf(resolveSettings(settings, undefined, budget), budget);
    const launched = await settingsToLaunch(earlier, planned(earlier.settings));
    expect(launched).toEqual({ ...earlier.settings, recoverLearningRate: 0.00051 });
    expect(await settingsToLaunch(now, planned(now.settings))).toEqual(now.settings);
  });
  it('keeps the warm-up of the preset paper of runs that were planned when it followed from the share of a whole budget', async () => {
    const now = planRun(asked({ preset: 'paper', targetParams: 2_500_000 }));
    const completed = planOf(resolveSettings({ ...now.settings, targetSparsity: 0.274 })); // 36% of the prunable part
    expect(await settingsToLaunch(now, completed)).toEqual(now.settings);
    const { budgetRate, ...earlier } = now;
    expect(budgetRate).toBe('prunable share');
    expect(await settingsToLaunch(earlier, completed)).toEqual({ ...now.settings, warmupSteps: 5000 });
  });
  it('keeps the rate of recovery of runs that were planned when it did not follow from the hidden size', async () => {
    const now = planRun(asked({ targetSparsity: 0.5 }));
    const completed = planOf(resolveSettings(now.settings, { hiddenSize: 64, maxPositions: 512 }));
    expect((await completed()).settings.recoverLearningRate).toBe(0.003);
    expect(await settingsToLaunch(now, completed)).toEqual(now.settings);
    const { rateByWidth, ...earlier } = now;
    expect(rateByWidth).toBe(true);
    expect(await settingsToLaunch(earlier, completed)).toEqual({ ...now.settings, recoverLearningRate: 0.001 });
    for (const other of [{ recoverLearningRate: 0.0003 }, { preset: 'short' }, { recoverLoraRank: 8 }] satisfies RequestedSettings[]) {
      const planned = planRun(asked(other));
      expect(planned).not.toHaveProperty('rateByWidth');
      expect(await settingsToLaunch(planned, completed)).toEqual(planned.settings);
    }
  });
  it('keeps the rate of recovery of runs of a budget that were planned when little that was pruned recovered more slowly', async () => {
    const planned = planRun(asked({ targetParams: 240_000 }));
    const budget = budgetOf(resolveSettings(planned.settings), groupedShape)!;
    const { rateByWidth, ...earlier } = planned;
    const completed = planOf(resolveSettings(planned.settings, { hiddenSize: 192, maxPositions: 512 }, budget), budget);
    expect(rateByWidth).toBe(true);
    expect((await completed()).settings.recoverLearningRate).toBe(0.00043);
    expect((await settingsToLaunch(earlier, completed)).recoverLearningRate).toBe(0.00021);
  });
  it('launched again after its defaults have changed has no run twice', () => {
    const now = planRun(asked({ targetSparsity: 0.3 }));
    const defaults = { totalSteps: 600, recoverSteps: 2400, recoverLearningRate: 0.00036 }; // those of an earlier release
    const { key } = planRun(asked({ targetSparsity: 0.3, ...defaults }));
    const { rateByWidth: _, ...recorded } = now;
    const earlier = after(null, launch([{ ...recorded, key }]));
    expect(earlier.runs[0]!.settings).toMatchObject(defaults);
    expect(decide(earlier, launch([now]), at)).toEqual([]);
  });
  it('of an earlier release keeps its defaults for the runs that are added, so that its rows can be compared', () => {
    const settings = { targetSparsity: 0.3 };
    const defaults = { totalSteps: 600, recoverSteps: 2400, recoverLearningRate: 0.00036 };
    const { rateByWidth: _, ...recorded } = planRun(asked(settings));
    const earlier = after(null, launch([{ ...recorded, key: planRun(asked({ ...settings, ...defaults })).key }]));
    const added = [planRun(asked({ ...settings, seed: '1' }, 'b')), planRun(asked({ ...settings, totalSteps: 100 }))];
    const more = after(earlier, launch(added));
    expect(more.runs.map((one) => resolveSettings(one.settings).recoverSteps)).toEqual([2400, 2400, 400]);
    expect(more.runs.map((one) => resolveSettings(one.settings).recoverLearningRate)).toEqual([0.00036, 0.00036, 0.00036]);
    expect(more.runs.map(({ rateByWidth, variant }) => [rateByWidth, variant])).toEqual([
      [undefined, 'a'],
      [undefined, 'b'],
      [undefined, 'a'],
    ]);
    expect(decide(more, launch(added), at)).toEqual([]);
    expect(more.runs.map(keepsEarlierDefaults)).toEqual([true, true, true]);
    // A study of this release has this release's defaults.
    const now = after(null, launch([planRun(asked(settings))]), launch(added));
    expect(now.runs.map((one) => resolveSettings(one.settings).recoverSteps)).toEqual([4800, 4800, 800]);
    expect(now.runs.map(({ rateByWidth }) => rateByWidth)).toEqual([true, true, true]);
    expect(now.runs.map(keepsEarlierDefaults)).toEqual([false, false, false]);
  });
  it('launched again has more runs, or changes nothing', () => {
    const first = after(null, launch([run('1'), run('2')]));
    expect(decide(first, launch([run('2'), run('1')]), at)).toEqual([]);
    const more = after(first, launch([run('1'), run('3')], 4));
    expect([more.runs.length, more.atOnce]).toEqual([3, 4]);
    const ended = after(more, { kind: 'end', runsCompleted: 3 });
    expect(ended.endedAt).toBe(at);
    expect(after(ended, launch([run('9')])).endedAt).toBeNull(); // the study goes on
  });
  it('knows which runs are still to be launched', () => {
    const [one, two, three] = [run('1'), run('2'), run('3')];
    const state = after(
      null,
      launch([one, two, three]),
      { kind: 'runLaunched', key: one.key, runId: 'r' },
      { kind: 'runRefused', key: two.key, code: 'MODEL_NOT_FOUND', message: 'gone', field: '' },
    );
    expect(waitingRuns(state).map(({ key }) => key)).toEqual([three.key]);
    expect(decide(state, { kind: 'runLaunched', key: one.key, runId: 'other' }, at)).toEqual([]); // the launch is recorded already
    expect(waitingRuns(after(state, { kind: 'cancel', reason: '' }))).toEqual([]);
  });
  it('is cancelled once, and neither grows nor can be cancelled afterwards', () => {
    const cancelled = after(null, launch([run('1')]), { kind: 'cancel', reason: 'enough' });
    expect(cancelled.cancelled).toEqual({ at, reason: 'enough' });
    expect(decide(cancelled, { kind: 'cancel', reason: 'again' }, at)).toEqual([]);
    for (const seed of ['1', '2'])
      expect(() => decide(cancelled, launch([run(seed)]), at)).toThrow(expect.objectContaining({ code: 'STUDY_ENDED' }));
    expect(() => decide(after(null, launch([run('1')]), { kind: 'end', runsCompleted: 1 }), { kind: 'cancel', reason: '' }, at)).toThrow(
      expect.objectContaining({ code: 'STUDY_ENDED' }),
    );
    expect(() => decide(null, { kind: 'cancel', reason: '' }, at)).toThrow(NotBegun);
  });
  it('gives its runs ids that are known before they are launched', () => {
    expect(runIdOfStudy('s', 'k')).toMatch(/^[a-z2-7]{12}$/);
    expect(runIdOfStudy('s', 'k')).not.toBe(runIdOfStudy('s', 'l'));
  });
});

describe('the table of a study', () => {
  const { RUN_STATUS_COMPLETED, RUN_STATUS_FAILED } = v1.RunStatus;
  const done = (perplexity: number, hardSparsity = 0.5, status = RUN_STATUS_COMPLETED): v1.Run => {
    const evaluation = { subject: 'masked', task: 'text', metric: 'perplexity', convention: 'windows of 64 tokens', stateDigest: 'x' };
    return v1.Run.fromPartial({
      status,
      hardSparsity,
      stateDigest: 'x',
      evaluations: [
        { ...evaluation, value: 99, stateDigest: 'an earlier state' },
        { ...evaluation, value: perplexity, headline: true },
        { ...evaluation, subject: 'intact', stateDigest: '', value: 5 },
        { ...evaluation, task: 'boolq', metric: 'acc', value: 0.7 },
      ],
    });
  };
  const planned = (variant: string, settings: RunOfStudy['settings']) => ({
    ...planRun(asked(settings, variant)),
    runId: 'r',
    refusal: null,
  });

  it('tells the rate of a run as recorded, and runs whose rates follow from different rules apart', () => {
    const recorded = (recoverLearningRate: number) => ({ ...done(10), settings: v1.RunSettings.fromPartial({ recoverLearningRate }) });
    const now = planned('a', { seed: '1' });
    const { rateByWidth: _, ...earlier } = planned('a', { seed: '2' });
    const tableWith = (run: v1.Run | null) =>
      studyTable([
        { planned: now, run },
        { planned: earlier, run: recorded(0.001) },
      ]);
    const { groups, runs } = tableWith(recorded(0.003));
    expect(groups.map(({ settings, runs: n }) => [settings, n])).toEqual([
      [{ recover_learning_rate: '0.003' }, 1],
      [{ recover_learning_rate: '0.001' }, 1],
    ]);
    expect(runs.map(({ settings }) => settings!.recoverLearningRate)).toEqual([0.003, 0.001]);
    expect(tableWith(null).groups[0]!.settings).toEqual({ recover_learning_rate: 'by hidden size' });
  });
  it('has a group for runs that differ by their seed only, with mean and spread of those that completed', () => {
    const { groups, runs } = studyTable([
      { planned: planned('a', { targetSparsity: 0.3, seed: '1' }), run: done(10) },
      { planned: planned('a', { targetSparsity: 0.3, seed: '2' }), run: done(14) },
      { planned: planned('a', { targetSparsity: 0.3, seed: '3' }), run: done(1000, 0.5, RUN_STATUS_FAILED) },
      { planned: planned('a', { targetSparsity: 0.5, seed: '1' }), run: null },
      { planned: planned('wanda', { recipe: 'wanda', targetSparsity: 0.3 }), run: done(20) },
    ]);
    expect(groups.map(({ variant, settings, runs: n, runsCompleted }) => [variant, settings, n, runsCompleted])).toEqual([
      ['a', { target_sparsity: '0.3' }, 3, 2],
      ['a', { target_sparsity: '0.5' }, 1, 0],
      ['wanda', { target_sparsity: '0.3' }, 1, 1], // the variant's name tells the recipe
    ]);
    const [perplexity] = groups[0]!.measures;
    expect(perplexity!.figure).toEqual({ mean: 12, spread: Math.sqrt(8), lowest: 10, highest: 14, n: 2 });
    expect(groups[0]!.measures.map(({ subject, task }) => [subject, task])).toEqual([
      ['masked', 'text'],
      ['intact', 'text'],
      ['masked', 'boolq'],
    ]);
    expect(groups[1]!.measures).toEqual([]);
    expect(groups[2]!.measures[0]!.figure!.spread).toBeUndefined(); // one run has no spread
    expect(runs.map(({ group }) => group)).toEqual([0, 0, 0, 1, 2]);
  });
  it('has no figure for no values', () => {
    expect(figureOf([])).toBeUndefined();
  });
});

test('a study with a run that waits for a user says so, and has not ended', () => {
  const state = after(null, launch([run('1')]), { kind: 'runLaunched', key: run('1').key, runId: 'r' });
  const message = (status: string, code: string): v1.Study => {
    const waitingFor = { code, message: 'it was killed', command: code === '' ? '' : 'espalier resume r', since: undefined };
    const views = { peek: () => ({ run: { status } }), message: () => v1.Run.fromPartial({ runId: 'r', waitingFor }) };
    return studyMessage(state, views as never, '');
  };
  expect(message('paused', 'READER_LOST')).toMatchObject({
    status: v1.StudyStatus.STUDY_STATUS_RUNNING,
    runsUnderWay: 1,
    waitingFor: 'run r (READER_LOST: it was killed); go on with: espalier resume r',
  });
  expect(message('paused', '').waitingFor).toBe(''); // a user paused the run
  expect(message('training', 'READER_LOST').waitingFor).toBe('');
});
