import { NotBegun } from '../event-sourcing/not-begun-error.js';
import { v1 } from '#protocol';
import { encodeFacts } from '../event-sourcing/event-codec.js';
import { figureOf } from '../views/mean-and-spread.js';
import { studyTable } from './study-figures.js';
import { studyMessage } from './study-message.js';
import { planRun, runIdOfStudy, type RunOfStudy } from './study-plan.js';
import { studyEventTypes, type NewStudyFact, type PlannedRun } from './study.events.js';
import { decide, evolve, waitingRuns, type StudyChange, type StudyState } from './study.js';

const at = '2026-01-01T00:00:00.000Z';
const asked = (settings: RunOfStudy['settings'], variant = 'a'): RunOfStudy => ({
  variant,
  modelPath: '/m',
  data: { trainPath: '/t', validationPath: '/v' },
  settings,
});
const run = (seed: string, variant?: string): PlannedRun => planRun(asked({ seed }, variant));
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
  it('records the preset of each run, so that another default of the preset changes no study', () => {
    expect(after(null, launch([run('1')])).runs[0]!.settings).toEqual({ preset: 'nuteprune2', seed: '1' });
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

  it('tells the rate of a run that follows from the hidden size as recorded, or in words before the launch', () => {
    const recorded = { ...done(10), settings: v1.RunSettings.fromPartial({ recoverLearningRate: 0.003 }) };
    const tableWith = (run: v1.Run | null) =>
      studyTable([
        { planned: planned('a', { seed: '1' }), run },
        { planned: planned('a', { seed: '2', recoverLearningRate: 0.001 }), run: null },
      ]);
    expect(tableWith(recorded).groups.map(({ settings }) => settings)).toEqual([
      { recover_learning_rate: '0.003' },
      { recover_learning_rate: '0.001' },
    ]);
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
