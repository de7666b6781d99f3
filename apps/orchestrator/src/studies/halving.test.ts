// Tests which contenders go on, and how a study records it, against results worked out by hand.
import { encodeFacts } from '../event-sourcing/event-codec.js';
import { resolveSettings, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import { heatsOf, nextRuns, standingsOf, withBudget } from './halving.js';
import { rungTable } from './study-figures.js';
import { planRun } from './study-plan.js';
import { studyEventTypes, type Halving, type NewStudyFact, type PlannedRun, type RungResult } from './study.events.js';
import { decide, evolve, openHeats, waitingRuns, type StudyChange, type StudyState } from './study.js';

const at = '2026-01-01T00:00:00.000Z';
const halving: Halving = { setting: 'totalSteps', rungs: [100, 300, 900], keep: 1 / 3 };
const run = (settings: RequestedSettings): PlannedRun =>
  planRun(
    withBudget({ variant: 'a', modelPath: '/m', data: { trainPath: '/t', validationPath: '/v' }, settings }, halving, halving.rungs[0]!),
  );
/** Contenders that differ by their rate, each with two seeds. */
const rates = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
const runs = rates.flatMap((maskLearningRate) => ['1', '2'].map((seed) => run({ maskLearningRate, seed })));
const result = ({ key }: PlannedRun, perplexity: number | null, missedTarget = false): RungResult => ({ key, perplexity, missedTarget });
const ratesOf = (some: readonly PlannedRun[]) => [...new Set(some.map(({ settings }) => settings.maskLearningRate))];

function after(state: StudyState | null, ...changes: StudyChange[]): StudyState {
  for (const change of changes) {
    const { events } = encodeFacts<NewStudyFact>(studyEventTypes, decide(state, change, at), state?.chain ?? '', (index) => `${index}`);
    state = events.reduce<StudyState | null>((before, event) => evolve(before, event), state);
  }
  return state!;
}
const launch = (planned: PlannedRun[]): StudyChange => ({
  kind: 'launch',
  studyId: 's',
  name: 'n',
  note: '',
  atOnce: 0,
  halving,
  runs: planned,
});

describe('the standings of a rung', () => {
  it('go by the mean over seeds, and the best third goes on', () => {
    // 0.4 has the best mean, although 0.2 has the best single run.
    const values = [10, 12, 5, 15, 11, 11, 7, 8, 9, 20, 30, 31];
    const standings = standingsOf(runs, runs.map((one, index) => result(one, values[index]!)), halving); // prettier-ignore
    expect(standings.map((one) => [ratesOf(one.runs)[0], one.goesOn])).toEqual([
      [0.4, true],
      [0.2, true],
      [0.1, false],
      [0.3, false],
      [0.5, false],
      [0.6, false],
    ]);
  });
  it('have those last that missed their target, which makes them look good, and those out that have no value', () => {
    const one = runs.filter((_, index) => index % 2 === 0).slice(0, 3);
    const standings = standingsOf(one, [result(one[0]!, 1, true), result(one[1]!, 9), result(one[2]!, null)], halving);
    expect(standings.map(({ runs: own, goesOn }) => [own[0].settings.maskLearningRate, goesOn])).toEqual([
      [0.2, true],
      [0.1, false],
      [0.3, false],
    ]);
    const nobody = standingsOf(one, one.map((each) => result(each, null)), halving); // prettier-ignore
    expect(nobody.some(({ goesOn }) => goesOn)).toBe(false);
    // Where all contenders missed the target, the best of them goes on.
    const missed = one.map((each, index) => result(each, 9 - index, true));
    expect(standingsOf(one, missed, halving)[0]).toMatchObject({ goesOn: true, perplexities: [7] });
  });
  it('compare only what can be compared: one target, model, text and window a race', () => {
    const other = [run({ targetSparsity: 0.2 }), run({ evaluationWindow: 64 }), { ...run({}), modelPath: '/other' }];
    expect(heatsOf([run({}), run({ seed: '5' }), ...other]).map((heat) => heat.runs.length)).toEqual([2, 1, 1, 1]);
  });
});

describe('a study with rungs', () => {
  const launched = after(null, launch(runs));
  const results = runs.map((one, index) => result(one, index));
  const [heat] = openHeats(launched);
  const decision: StudyChange = { kind: 'decideRung', race: heat!.race, rung: 0, results };

  it('begins with the first rung, decides it once, and has the runs of the next', () => {
    expect(waitingRuns(launched).map(({ settings }) => settings.totalSteps)).toEqual(runs.map(() => 100));
    const decided = after(launched, decision);
    const next = waitingRuns(decided).slice(runs.length);
    expect(next.map(({ settings: { maskLearningRate, seed, totalSteps }, rung }) => [maskLearningRate, seed, totalSteps, rung])).toEqual([
      [0.1, '1', 300, 1],
      [0.1, '2', 300, 1],
      [0.2, '1', 300, 1],
      [0.2, '2', 300, 1],
    ]);
    expect(next[0]).toEqual({ ...planRun(next[0]!), rung: 1, runId: null, refusal: null }); // holds nothing of the run before it
    expect(decide(decided, decision, at)).toEqual([]); // decided again by a second driver, or by the same after a crash
    expect(new Set(decided.runs.map(({ key }) => key)).size).toBe(decided.runs.length);
  });
  it('ends after its last rung, whose runs decide no heat', () => {
    let state = after(launched, decision);
    const [second] = openHeats(state);
    state = after(state, {
      kind: 'decideRung',
      race: second!.race,
      rung: 1,
      results: second!.runs.map((one, index) => result(one, index)),
    });
    expect(state.runs.slice(-2).map(({ settings, rung }) => [settings.maskLearningRate, settings.totalSteps, rung])).toEqual([
      [0.1, 900, 2],
      [0.1, 900, 2],
    ]);
    expect(openHeats(state)).toEqual([]);
    expect(
      rungTable(state).map(({ rung, budget, contenders }) => [rung, budget, contenders.filter(({ goesOn }) => goesOn).length]),
    ).toEqual([
      [0, 100, 2],
      [1, 300, 1],
    ]);
    expect(rungTable(state)[0]!.contenders[0]).toMatchObject({
      settings: { mask_learning_rate: '0.1' },
      perplexity: { mean: 0.5, n: 2 },
      goesOn: true,
    });
  });
  it('has no next rung for a race in which every run failed, and decides nothing once it is cancelled', () => {
    const failed = after(launched, { ...decision, results: runs.map((one) => result(one, null)) });
    expect([failed.runs.length, openHeats(failed)]).toEqual([runs.length, []]);
    const cancelled = after(launched, { kind: 'cancel', reason: '' });
    expect(decide(cancelled, decision, at)).toEqual([]);
  });
  it('keeps its runs: launched again as it was it changes nothing, otherwise it is refused', () => {
    expect(decide(launched, launch(runs), at)).toEqual([]);
    for (const other of [launch([...runs, run({ maskLearningRate: 0.9 })]), { ...launch(runs), halving: { ...halving, keep: 0.5 } }])
      expect(() => decide(launched, other, at)).toThrow(expect.objectContaining({ code: 'STUDY_FIXED' }));
    const { halving: _, ...without } = launch(runs) as StudyChange & { kind: 'launch' };
    expect(() => decide(launched, without, at)).toThrow(expect.objectContaining({ code: 'STUDY_FIXED' }));
    expect(() => decide(after(null, without), launch(runs), at)).toThrow(expect.objectContaining({ code: 'STUDY_FIXED' }));
  });
  it('keeps the settings that a run asked for in the next rung, and computes the others from its steps', () => {
    const nextOf = (settings: RequestedSettings): PlannedRun => {
      const [heat] = openHeats(after(null, launch([run(settings)])));
      return nextRuns(heat!, [result(heat!.runs[0], 5)], halving)[0]!;
    };
    expect(nextOf({ recoverSteps: 250 }).settings).toMatchObject({ totalSteps: 300, recoverSteps: 250 });
    expect(resolveSettings(nextOf({}).settings)).toMatchObject({ totalSteps: 300, recoverSteps: 2400 });
  });
  it('has no contender that races itself under another name', () => {
    const twins = [run({ maskLearningRate: 0.1 }), { ...run({ maskLearningRate: 0.1, totalSteps: 100 }), variant: 'twin' }];
    expect(() => after(null, launch(twins))).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID', field: 'runs[1]' }));
  });
});
