import { replaySummary } from '#audit';
import type { NewFact, RunSettings, TeacherChoice } from '../record/pruning-run.events.js';
import { evolve, fold, isRunnable, teachersUpTo } from './pruning-run.js';
import { resolveSettings, type RequestedSettings } from '../method/run-settings.js';
import { planSegment } from '../planning/segment-plan.js';
import { settingsOfFork, statesToFallBackTo } from './starting-points.js';
import { encodeFacts } from '../record/stored-event.js';
import { AT, engine, fact, launched, segment, stateAt, Story, typesOf } from '../testing.js';

const refusal = (code: string): Error => expect.objectContaining({ code });

describe('a run from launch to completion', () => {
  it('starts with the intact teacher', () => {
    const story = new Story(launched());
    expect(typesOf(story.when({ kind: 'startAttempt', attempt: 1 }))).toEqual(['AttemptStarted']);
    expect(story.state.status).toBe('preparing');
    const facts = story.when({ kind: 'attachEngine', attempt: 1, engine, stateDigest: 'd' });
    expect(typesOf(facts)).toEqual(['EngineAttached', 'TeacherAssigned']);
    expect(facts[1]!.data).toMatchObject({ fromStep: 0, teacher: { kind: 'intact' }, reason: 'run_start' });
    expect(story.state.status).toBe('training');
  });

  it('records each mark that a step crosses, the target, and the next teacher', () => {
    const story = new Story(launched({ targetSparsity: 0.05, teacherGapMarks: 2 })).start();
    expect(typesOf(story.when(segment(0, stateAt(4, 0.031))))).toEqual([
      'SparsityAdvanced',
      'MasksUpdated',
      'TeacherSnapshotted',
      'TeacherSnapshotted',
      'TeacherSnapshotted',
      'TeacherAssigned',
    ]);
    expect(story.state.teachers.map((one) => [one.mark, one.threshold, one.state.step])).toEqual([
      [1, 0.01, 4],
      [2, 0.02, 4],
      [3, 0.03, 4],
    ]);
    expect(story.state.assignment?.teacher).toMatchObject({ kind: 'snapshot', mark: 2 });
    const facts = story.when(segment(4, stateAt(9, 0.06)));
    expect(typesOf(facts)).toContain('TargetSparsityReached');
    expect(facts.find((one) => one.type === 'TargetSparsityReached')!.data).toMatchObject({ step: 9, remainingSteps: 91 });
    expect(story.state.targetReachedStep).toBe(9);
  });

  it('completes after the last step only', () => {
    const story = new Story(launched()).start().train(stateAt(10, 0));
    expect(() => story.when({ kind: 'complete', attempt: 1, evaluationError: null })).toThrow();
    story.train(stateAt(100, 0));
    expect(typesOf(story.when({ kind: 'complete', attempt: 1, evaluationError: null }))).toEqual(['RunCompleted']);
    expect(isRunnable(story.state)).toBe(false);
  });

  it('records skipped steps', () => {
    const story = new Story(launched()).start();
    const facts = story.when(segment(0, stateAt(3, 0), 1, [1]));
    expect(facts[1]).toEqual(fact('StepsSkipped', { attempt: 1, steps: [1], cause: 'non_finite' }));
    story.when(segment(3, stateAt(5, 0), 1, [3, 4]));
    expect(story.state).toMatchObject({ skippedSteps: 3, latestSkips: { fromStep: 0, steps: [1, 3, 4] } });
  });
});

describe('segments', () => {
  it('last segment_steps from where they start, to the last step at most, and end early at the next mark or the target', () => {
    const story = new Story(launched({ targetSparsity: 0.015, totalSteps: 25 })).start();
    expect(planSegment(story.state)).toMatchObject({ firstStep: 0, endStep: 10, stopAtExpectedSparsity: 0.01 });
    story.train(stateAt(4, 0.012)); // the segment stopped at the mark
    expect(planSegment(story.state)).toMatchObject({ firstStep: 4, endStep: 14, stopAtExpectedSparsity: 0.015 });
    story.train(stateAt(14, 0.013), stateAt(20, 0.02));
    expect(planSegment(story.state)).toMatchObject({ firstStep: 20, endStep: 25, stopAtExpectedSparsity: null });
    expect(planSegment(story.state).loraLearningRates).toHaveLength(5);
  });
  // The target is reached at step 10 of 100 with 4 snapshots. A phase has 90 div 5 = 18 steps, and with gap 1 the first teacher is mark 4.
  const afterTarget = (segmentSteps: number): Story =>
    new Story(launched({ targetSparsity: 0.05, teacherGapMarks: 1, segmentSteps })).start().train(stateAt(10, 0.06));
  const marksOf = (stretches: { firstStep: number; teacher: TeacherChoice }[]): unknown[] =>
    stretches.map(({ firstStep, teacher }) => [firstStep, teacher.kind === 'snapshot' ? teacher.mark : teacher.kind]);
  const assignedBy = (facts: NewFact[]): unknown[] =>
    facts.flatMap((one) => (one.type === 'TeacherAssigned' ? marksOf([{ ...one.data, firstStep: one.data.fromStep }]) : []));

  it('run across the changes of teachers after the target', () => {
    const { state } = afterTarget(60);
    expect(planSegment(state)).toMatchObject({ firstStep: 10, endStep: 70, stopAtExpectedSparsity: null });
    expect(marksOf(planSegment(state).stretches)).toEqual([
      [10, 4],
      [29, 3],
      [47, 2],
      [65, 1],
    ]);
  });
  it('end where one more snapshot is needed than the engine can hold', () => {
    const { state } = afterTarget(60);
    expect(planSegment(state, 2)).toMatchObject({ firstStep: 10, endStep: 47 });
    expect(marksOf(planSegment(state, 2).stretches)).toEqual([
      [10, 4],
      [29, 3],
    ]);
    expect(planSegment(state, 2).loraLearningRates).toEqual(planSegment(state).loraLearningRates.slice(0, 37));
  });
  it('record each teacher that took over within them before their state, and the next one after it', () => {
    const story = afterTarget(60);
    const facts = story.when(segment(10, stateAt(65, 0.06), 1, [12]));
    expect(typesOf(facts)).toEqual([
      'SparsityAdvanced',
      'StepsSkipped',
      'TeacherAssigned',
      'TeacherAssigned',
      'MasksUpdated',
      'TeacherAssigned',
    ]);
    expect(assignedBy(facts)).toEqual([
      [29, 3],
      [47, 2],
      [65, 1],
    ]);
    expect(story.state.assignment).toMatchObject({ fromStep: 65, reason: 'post_target_phase' });
  });
  it('assign the same teachers from the same steps wherever a run is cut', () => {
    const cutAt = (...steps: number[]): unknown[] => {
      const story = afterTarget(100);
      const before = story.facts.length;
      story.train(...steps.map((step) => stateAt(step, 0.06)));
      return assignedBy(story.facts.slice(before));
    };
    const whole = cutAt(100);
    expect(whole).toEqual([
      [29, 3],
      [47, 2],
      [65, 1],
      [83, 'intact'],
    ]);
    for (const cuts of [
      [11, 100],
      [28, 29, 30, 100],
      [46, 100],
      [29, 47, 65, 83, 100],
      [99, 100],
    ])
      expect(cutAt(...cuts)).toEqual(whole);
  });
  it('that stop early assign only teachers that have instructed; after a lost attempt the run goes on where they stopped', () => {
    const story = afterTarget(100);
    expect(assignedBy(story.when(segment(10, stateAt(40, 0.06))))).toEqual([[29, 3]]);
    story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'engine', code: 'ENGINE_LOST', message: 'x' });
    story.start(2);
    expect(marksOf(planSegment(story.state).stretches)).toEqual([
      [40, 3],
      [47, 2],
      [65, 1],
      [83, 'intact'],
    ]);
  });
  it('learn from the text alone under recipe lm', () => {
    const plan = planSegment(new Story(launched({ recipe: 'lm' })).state);
    expect(plan).toMatchObject({
      stretches: [{ firstStep: 0, teacher: { kind: 'none' } }],
      losses: { layerWeight: 0, klWeight: 0, lmWeight: 1 },
    });
  });
});

describe('attempts', () => {
  it('fence out reports of one that was given up', () => {
    const story = new Story(launched()).start();
    story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'engine', code: 'ENGINE_LOST', message: 'died' });
    expect(story.state.status).toBe('restarting');
    story.start(2);
    expect(() => story.when(segment(0, stateAt(10, 0), 1))).toThrow(refusal('ATTEMPT_STALE'));
    expect(() => story.when({ kind: 'startAttempt', attempt: 2 })).toThrow(refusal('ATTEMPT_STALE'));
  });
  it('record a retried report once, and none that leaves steps out', () => {
    const story = new Story(launched()).start().train(stateAt(10, 0));
    expect(story.when(segment(0, stateAt(10, 0)))).toEqual([]);
    expect(() => story.when(segment(12, stateAt(20, 0)))).toThrow(refusal('ATTEMPT_STALE'));
  });
  it('pause the run with the cause after a limit without progress; progress sets the count back', () => {
    const story = new Story(launched());
    let attempt = 0;
    const lose = (): string[] => {
      attempt += 1;
      story.start(attempt);
      return typesOf(story.when({ kind: 'recordEngineLoss', attempt, cause: 'engine', code: 'ENGINE_LOST', message: 'killed by SIGSEGV' }));
    };
    for (let count = 0; count < 7; count += 1) expect(lose()).toEqual(['EngineLost']);
    story.start(++attempt).train(stateAt(10, 0));
    story.when({ kind: 'recordEngineLoss', attempt, cause: 'engine', code: 'ENGINE_LOST', message: 'x' });
    for (let count = 0; count < 6; count += 1) expect(lose()).toEqual(['EngineLost']);
    expect(lose()).toEqual(['EngineLost', 'RunPaused']);
    expect(story.state).toMatchObject({ status: 'paused', pausedBy: 'obstacle', failure: { code: 'ENGINE_LOST' }, attemptOpen: false });
    expect(story.state.failure!.message).toContain('killed by SIGSEGV');
    expect(isRunnable(story.state)).toBe(false);
    story.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false });
    expect(lose()).toEqual(['EngineLost']); // the run has all its tries again
  });
  it('count no attempt that got further than those before, though none of its steps was recorded', () => {
    const story = new Story(launched()).start().train(stateAt(10, 0));
    let attempt = 1;
    const loseAt = (reachedStep: number): string[] => {
      const types = typesOf(
        story.when({ kind: 'recordEngineLoss', attempt, cause: 'engine', code: 'ENGINE_HUNG', message: 'late', reachedStep }),
      );
      if (types.length === 1) story.start(++attempt);
      return types;
    };
    for (let step = 11; step < 31; step += 1) expect(loseAt(step)).toEqual(['EngineLost']);
    // A run whose attempts end at the same step each time makes no progress.
    for (let count = 0; count < 6; count += 1) expect(loseAt(30)).toEqual(['EngineLost']);
    expect(loseAt(30)).toEqual(['EngineLost', 'RunPaused']);
  });
  it('fail the run if no user can mend the cause, and otherwise wait for a user', () => {
    const outcome = (code: string): string[] =>
      typesOf(new Story(launched()).start().when({ kind: 'fail', attempt: 1, code, message: 'x', field: '' }));
    for (const code of ['NUMERICS_CHANGED', 'MODEL_CHANGED', 'OUT_OF_MEMORY', 'ARTIFACT_MISSING', 'ENGINE_UNAVAILABLE'])
      expect([code, ...outcome(code)]).toEqual([code, 'RunPaused']);
    for (const code of ['TRAINING_DIVERGED', 'ENGINE_FAILED', 'INTERNAL', 'INVALID_ARGUMENT'])
      expect([code, ...outcome(code)]).toEqual([code, 'RunFailed']);
  });
  it('wait longer each time', () => {
    const story = new Story(launched());
    const delays: number[] = [];
    for (let attempt = 1; attempt < 8; attempt += 1) {
      story.start(attempt);
      const [lost] = story.when({ kind: 'recordEngineLoss', attempt, cause: 'engine', code: 'ENGINE_LOST', message: 'x' });
      if (lost?.type === 'EngineLost') delays.push(lost.data.restartDelayMs);
    }
    expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 16000, 30000]);
  });
  it('do not count against the run when the orchestrator died', () => {
    const story = new Story(launched());
    for (let attempt = 1; attempt < 30; attempt += 1) {
      story.start(attempt);
      story.when({ kind: 'recordEngineLoss', attempt, cause: 'orchestrator', code: 'ORCHESTRATOR_RESTARTED', message: 'x' });
    }
    expect(story.state.status).toBe('restarting');
  });
  it('refuse other numerics unless accepted, and record them then', () => {
    const story = new Story(launched()).start().train(stateAt(10, 0));
    story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'engine', code: 'ENGINE_LOST', message: 'x' });
    expect(() => story.start(2, 'f2')).toThrow(refusal('NUMERICS_CHANGED'));
    story.when({ kind: 'fail', attempt: 2, code: 'NUMERICS_CHANGED', message: 'x', field: '' });
    expect(story.when({ kind: 'requestPause' })).toEqual([]); // the run is paused already
    story.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: true });
    story.start(3, 'f2');
    expect(story.state.engine).toMatchObject({ numericsFingerprint: 'f2', numericsChangedFrom: 'f1' });
  });
  it('may evaluate on other numerics what is trained; the numerics of the training stay, and no step is done on others', () => {
    const story = new Story(launched({ totalSteps: 10 })).start().train(stateAt(10, 0));
    story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'engine', code: 'ENGINE_LOST', message: 'x' });
    story.start(2, 'f2');
    expect(story.state.engine).toMatchObject({ numericsFingerprint: 'f2', numericsChangedFrom: 'f1', evaluatesOnly: true });
    expect(story.state.numericsFingerprint).toBe('f1');
    story.when({ kind: 'fallBack', attempt: 2, stateDigest: null });
    expect(() => story.train(stateAt(10, 0))).toThrow(refusal('NUMERICS_CHANGED'));
  });
});

describe('a damaged state', () => {
  const rewind = (facts: NewFact[]) => facts.find((one) => one.type === 'RunRewound')?.data;

  it('that is the last is left for the one before, and the same steps are trained again', () => {
    const story = new Story(launched()).start().train(stateAt(10, 0), stateAt(20, 0.012));
    const first = story.facts.findIndex((one) => one.type === 'SparsityAdvanced' && one.data.step === 20);
    story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'engine', code: 'ENGINE_LOST', message: 'x' });
    story.when({ kind: 'startAttempt', attempt: 2 });
    const fallen = story.when({ kind: 'fallBack', attempt: 2, stateDigest: stateAt(10, 0).stateDigest });
    expect(rewind(fallen)).toMatchObject({ toStep: 10, teacherMark: null, abandonedFromRevision: first });
    story.when({ kind: 'attachEngine', attempt: 2, engine, stateDigest: stateAt(10, 0).stateDigest });
    story.train(stateAt(20, 0.012));
    expect(story.state).toMatchObject({
      status: 'training',
      current: { step: 20 },
      teachers: [{ mark: 1 }],
      abandonedTeachers: [{ mark: 1 }],
    });
  });
  it('of a teacher is left for a teacher before it; who instructs now is said at once, and a requested pause stays', () => {
    const story = new Story(launched({ teacherGapMarks: 2 })).start().train(stateAt(10, 0.012), stateAt(20, 0.022), stateAt(30, 0.032));
    expect(story.state.assignment?.teacher).toMatchObject({ kind: 'snapshot', mark: 2 });
    story.when({ kind: 'requestPause' });
    expect(statesToFallBackTo(story.state).map(({ step }) => step)).toEqual([30, 20, 20, 10]);
    const fallen = story.when({ kind: 'fallBack', attempt: 1, stateDigest: stateAt(10, 0.012).stateDigest });
    expect(typesOf(fallen)).toEqual(['RunRewound', 'TeacherAssigned']);
    expect(fallen[1]).toMatchObject({ data: { fromStep: 10, teacher: { kind: 'intact' }, reason: 'rewound' } });
    expect(story.state).toMatchObject({
      pauseRequested: true,
      attemptOpen: true,
      teachers: [{ mark: 1 }],
      abandonedTeachers: [{ mark: 2 }, { mark: 3 }],
    });
  });
  it('with nothing whole before it sends the run to its start', () => {
    const story = new Story(launched()).start().train(stateAt(10, 0.012), stateAt(20, 0.022));
    const fallen = story.when({ kind: 'fallBack', attempt: 1, stateDigest: null });
    expect(rewind(fallen)).toEqual({
      toStep: 0,
      state: null,
      teacherMark: null,
      abandonedFromRevision: 1,
      acceptOtherNumerics: false,
      targetReachedStep: null,
    });
    expect(story.state).toMatchObject({ current: null, previous: null, teachers: [], branch: 1 });
    expect(story.when({ kind: 'fallBack', attempt: 1, stateDigest: null })).toEqual([]);
    story.train(stateAt(10, 0.012));
    expect(story.state.teachers).toMatchObject([{ mark: 1, branch: 1 }]);
  });
  it('never sends a fork to before its beginning', () => {
    const parent = new Story(launched()).start().train(stateAt(10, 0.012), stateAt(20, 0.022));
    const story = new Story();
    story.when({
      kind: 'fork',
      runId: 'child',
      name: '',
      requestId: 'q',
      requestDigest: 'q',
      parent: parent.state,
      from: { kind: 'mark', mark: 2 },
      overrides: {},
      data: null,
    });
    story.start();
    story.train(stateAt(30, 0.025), stateAt(40, 0.027));
    expect(statesToFallBackTo(story.state).map(({ step }) => step)).toEqual([30, 20]);
    for (const stateDigest of [null, stateAt(10, 0.012).stateDigest]) {
      expect(() => story.when({ kind: 'fallBack', attempt: 1, stateDigest })).toThrow(refusal('INTERNAL'));
    }
    const fallen = story.when({ kind: 'fallBack', attempt: 1, stateDigest: stateAt(20, 0.022).stateDigest });
    expect(rewind(fallen)).toMatchObject({ toStep: 20, abandonedFromRevision: 1 });
  });
});

describe('pause, resume, cancel', () => {
  it('pause at once without an engine, at the next boundary with one', () => {
    const queued = new Story(launched());
    expect(typesOf(queued.when({ kind: 'requestPause' }))).toEqual(['RunPaused']);
    const training = new Story(launched()).start();
    expect(typesOf(training.when({ kind: 'requestPause' }))).toEqual(['RunPauseRequested']);
    expect(training.when({ kind: 'requestPause' })).toEqual([]);
    training.train(stateAt(3, 0));
    expect(typesOf(training.when({ kind: 'confirmPause', by: 'request' }))).toEqual(['RunPaused']);
    expect(isRunnable(training.state)).toBe(false);
    expect(typesOf(training.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false }))).toEqual(['RunResumed']);
    expect(training.state).toMatchObject({ status: 'queued', pauseRequested: false });
  });
  it('keep a requested pause through the loss of the engine', () => {
    const story = new Story(launched()).start();
    story.when({ kind: 'requestPause' });
    expect(typesOf(story.when({ kind: 'recordEngineLoss', attempt: 1, cause: 'engine', code: 'ENGINE_LOST', message: 'x' }))).toEqual([
      'EngineLost',
      'RunPaused',
    ]);
  });
  it('go on by itself after a shutdown', () => {
    const story = new Story(launched()).start();
    story.when({ kind: 'confirmPause', by: 'shutdown' });
    expect(isRunnable(story.state)).toBe(true);
    story.start(2);
    expect(story.state.status).toBe('training');
  });
  it('are refused where they mean nothing', () => {
    const story = new Story(launched()).start().train(stateAt(100, 0));
    expect(() => story.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false })).toThrow(refusal('RUN_STILL_ACTIVE'));
    story.when({ kind: 'complete', attempt: 1, evaluationError: null });
    for (const kind of ['requestPause'] as const) expect(() => story.when({ kind })).toThrow(refusal('RUN_FINISHED'));
    expect(() => story.when({ kind: 'cancel', reason: '' })).toThrow(refusal('RUN_FINISHED'));
    expect(() => story.when({ kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false })).toThrow(refusal('RUN_FINISHED'));
  });
  it('leave a cancelled run cancelled', () => {
    const story = new Story(launched()).start();
    story.when({ kind: 'cancel', reason: 'enough' });
    expect(story.when({ kind: 'cancel', reason: 'enough' })).toEqual([]);
    expect(() => story.when(segment(0, stateAt(10, 0)))).toThrow(refusal('ATTEMPT_STALE'));
  });
  it('say what can follow a cancelled run: a rewind where it has teachers, else a fork, else another launch', () => {
    const resume = { kind: 'resume', from: { kind: 'last' }, acceptOtherNumerics: false } as const;
    const cancelled = (...states: ReturnType<typeof stateAt>[]): Story => {
      const story = new Story(launched({ targetSparsity: 0.05 })).start().train(...states);
      story.when({ kind: 'cancel', reason: '' });
      return story;
    };
    expect(() => cancelled().when(resume)).toThrow(expect.objectContaining({ code: 'RUN_FINISHED' }));
    expect(() => cancelled(stateAt(4, 0)).when(resume)).toThrow(/: espalier fork \w+ --last trains on from its last state$/);
    const story = cancelled(stateAt(4, 0.011));
    expect(() => story.when(resume)).toThrow(/espalier fork \w+ --last .*, espalier resume \w+ --from-teacher N rewinds it/);
    expect(typesOf(story.when({ ...resume, from: { kind: 'mark', mark: 1 } }))).toEqual(['RunRewound']);
    expect(isRunnable(story.state)).toBe(true);
  });
});

describe('rewinding and forking', () => {
  const trained = (): Story =>
    new Story(launched({ targetSparsity: 0.05, teacherGapMarks: 2 }))
      .start()
      .train(stateAt(4, 0.011), stateAt(8, 0.022), stateAt(12, 0.051), stateAt(20, 0.06));

  it('takes up the state of a teacher and marks what followed as abandoned', () => {
    const story = trained();
    expect(() => story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false })).toThrow(
      refusal('RUN_STILL_ACTIVE'),
    );
    story.when({ kind: 'cancel', reason: '' });
    const [rewound] = story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
    const snapshotted = story.facts.findIndex((one) => one.type === 'TeacherSnapshotted' && one.data.mark === 1);
    expect(rewound).toMatchObject({
      type: 'RunRewound',
      data: { toStep: 4, teacherMark: 1, abandonedFromRevision: snapshotted + 1, targetReachedStep: null },
    });
    const { teachers, abandonedTeachers, current, branch, status } = story.state;
    expect({ marks: teachers.map((one) => one.mark), left: abandonedTeachers.length, step: current?.step, branch, status }).toEqual({
      marks: [1],
      left: 3,
      step: 4,
      branch: 1,
      status: 'queued',
    });
    story.start(2);
    expect(story.state.assignment).toMatchObject({ reason: 'rewound', fromStep: 4 });
  });

  it('records that steps were computed twice where it comes to a state again that it had had', () => {
    const story = trained();
    story.when({ kind: 'cancel', reason: '' });
    story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
    story.start(2).train(stateAt(8, 0.022, ' of other bits'), stateAt(12, 0.051));
    expect(story.facts.filter(({ type }) => type === 'StepsReplayed')).toMatchObject([
      {
        data: {
          cause: 'retraining',
          engineName: 'local-1',
          isOtherEngine: false,
          stretches: [{ firstStep: 4, endStep: 12, agrees: true }],
        },
      },
    ]);
    expect(replaySummary(story.state.replays)).toEqual({ agreeing: 8, byOtherEngine: 0, differing: 0, engines: ['local-1'] });
  });

  it('records each measured speed, equal ones too, and marks those of a branch that it left', () => {
    const story = trained();
    const { step, stateDigest } = story.state.current!;
    const gain = { times: 1.4, low: 1.35, high: 1.45 };
    const on = {
      backend: 'cpu',
      device: 'a processor',
      threads: 2,
      computeDtype: 'bf16',
      batch: 1,
      promptTokens: 64,
      tokens: 32,
      rounds: 9,
    };
    const about = { subject: 'masked', step, stateDigest, teacherMark: null } as const;
    const measured = { kind: 'recordSpeed', ...about, ...on, prefill: gain, decode: gain } as const;
    expect(typesOf([...story.when(measured), ...story.when(measured)])).toEqual(['SpeedRecorded', 'SpeedRecorded']);
    expect(story.state.speeds.map(({ decode, abandoned }) => [decode, abandoned])).toEqual([
      [gain, false],
      [gain, false],
    ]);
    story.when({ kind: 'cancel', reason: '' });
    story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
    expect(story.state.speeds.map(({ abandoned }) => abandoned)).toEqual([true, true]);
    story.when({ kind: 'cancel', reason: '' });
    story.when({ kind: 'delete', reason: '', neededElsewhere: new Set() });
    expect(() => story.when(measured)).toThrow(refusal('RUN_DELETED'));
  });

  it('records no replay of a branch that was left meanwhile, and none of a deleted run', () => {
    const story = trained();
    const data = { cause: 'verification', engineName: 'lab', isOtherEngine: true, device: 'cpu', numericsFingerprint: 'f1' } as const;
    const stretches = [{ firstStep: 4, endStep: 12, stateDigest: story.state.current!.stateDigest, agrees: true }];
    const replay = { kind: 'recordReplay', branch: 0, ...data, tolerance: null, stretches } as const;
    expect(typesOf(story.when(replay))).toEqual(['StepsReplayed']);
    expect(replaySummary(story.state.replays)).toMatchObject({ byOtherEngine: 8, engines: ['lab'] });
    story.when({ kind: 'cancel', reason: '' });
    story.when({ kind: 'resume', from: { kind: 'mark', mark: 2 }, acceptOtherNumerics: false });
    expect(replaySummary(story.state.replays)).toMatchObject({ byOtherEngine: 4 }); // steps 4 to 7 remain
    expect(story.when(replay)).toEqual([]);
    story.when({ kind: 'cancel', reason: '' });
    story.when({ kind: 'delete', reason: '', neededElsewhere: new Set() });
    expect(story.when({ ...replay, branch: 1 })).toEqual([]);
  });

  it('names the teachers that there are where the asked one is not', () => {
    const ended = (...states: ReturnType<typeof stateAt>[]): Story => {
      const story = new Story(launched({ targetSparsity: 0.05 })).start().train(...states);
      story.when({ kind: 'cancel', reason: '' });
      return story;
    };
    const resume = { kind: 'resume', from: { kind: 'mark', mark: 9 }, acceptOtherNumerics: false } as const;
    expect(() => ended(stateAt(4, 0.011)).when(resume)).toThrow(/has no teacher 9: its only teacher is 1$/);
    expect(() => ended(stateAt(4, 0.011), stateAt(8, 0.022)).when(resume)).toThrow(/its teachers are 1 to 2$/);
  });

  it('keeps the marks that share the state it goes back to', () => {
    const story = new Story(launched()).start().train(stateAt(4, 0.033), stateAt(9, 0.041));
    story.when({ kind: 'cancel', reason: '' });
    story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
    expect(story.state.teachers.map((one) => one.mark)).toEqual([1, 2, 3]);
  });

  it('forks from a teacher with the teachers before it, the parent untouched', () => {
    const parent = trained().state;
    const child = new Story();
    child.when({
      kind: 'fork',
      runId: 'child',
      name: '',
      requestId: 'q',
      requestDigest: 'q',
      parent,
      from: { kind: 'mark', mark: 2 },
      overrides: { targetSparsity: 0.3 },
      data: null,
    });
    expect(child.state).toMatchObject({ current: { step: 8 }, targetReachedStep: null, settings: { targetSparsity: 0.3 } });
    expect(child.state.teachers.map((one) => one.mark)).toEqual([1, 2]);
    child.start();
    expect(child.state.assignment?.teacher).toMatchObject({ kind: 'snapshot', mark: 1 });
  });

  it('keeps the share of the warm-up where a fork has fewer steps than its parent warms up for', () => {
    const parent = trained().state;
    const settingsWith = (overrides: Partial<RunSettings>): RunSettings => {
      const child = new Story();
      child.when({
        kind: 'fork',
        runId: 'c',
        name: '',
        requestId: 'q',
        requestDigest: 'q',
        parent,
        from: { kind: 'mark', mark: 1 },
        overrides,
        data: null,
      });
      return child.state.settings;
    };
    const { warmupSteps, totalSteps } = parent.settings;
    const fewer = warmupSteps - 1;
    expect(settingsWith({ totalSteps: fewer }).warmupSteps).toBe(Math.floor((fewer * warmupSteps) / totalSteps));
    expect(settingsWith({ totalSteps: totalSteps + 10 }).warmupSteps).toBe(warmupSteps);
    expect(() => settingsWith({ totalSteps: fewer, warmupSteps })).toThrow(expect.objectContaining({ field: 'settings.warmup_steps' }));
  });

  it('takes the rate of the rule that holds the sparsity where a fork changes the rule, and keeps both where it does not', () => {
    const forkOf = (settings: RequestedSettings, overrides: Partial<RunSettings>): RunSettings =>
      settingsOfFork(resolveSettings({ preset: 'short', ...settings }), overrides);
    const earlier = resolveSettings({ preset: 'short', sparsityControl: 'multipliers', lambdaLearningRate: 3 });
    expect(settingsOfFork(earlier, { targetSparsity: 0.3 })).toEqual({ ...earlier, targetSparsity: 0.3 });
    expect(settingsOfFork(earlier, { sparsityControl: 'multipliers' }).lambdaLearningRate).toBe(3);
    expect(settingsOfFork(earlier, { sparsityControl: 'tracking' })).toMatchObject({ lambdaLearningRate: 0.02, maskLearningRate: 0.1 });
    expect(forkOf({}, { sparsityControl: 'multipliers' }).lambdaLearningRate).toBe(1);
    expect(forkOf({}, { sparsityControl: 'multipliers', lambdaLearningRate: 2 }).lambdaLearningRate).toBe(2);
  });

  it('recovers at the rate of its own target where the rate followed from the target of the parent', () => {
    const rateOf = (settings: RequestedSettings, overrides: Partial<RunSettings>): number =>
      settingsOfFork(resolveSettings(settings), overrides).recoverLearningRate;
    expect(rateOf({ targetSparsity: 0.2 }, { targetSparsity: 0.5 })).toBe(0.001);
    expect(rateOf({ targetSparsity: 0.2, recoverSchedule: 'cosine' }, { targetSparsity: 0.5 })).toBe(0.0007);
    expect(rateOf({ targetSparsity: 0.2 }, { targetSparsity: 0.5, recoverLearningRate: 0.0002 })).toBe(0.0002);
    expect(rateOf({ targetSparsity: 0.2, recoverLearningRate: 0.0003 }, { targetSparsity: 0.5 })).toBe(0.0003);
    expect(rateOf({ targetSparsity: 0.2 }, { seed: '7' })).toBe(0.00043);
  });

  it('recovers at the rate of its own target and of the hidden size of its model', () => {
    const sizes = { hiddenSize: 64, maxPositions: 512 };
    const rateOf = (parent: RunSettings, overrides: Partial<RunSettings>): number =>
      settingsOfFork(parent, overrides, null, sizes.hiddenSize).recoverLearningRate;
    expect(rateOf(resolveSettings({ targetSparsity: 0.2 }, sizes), { targetSparsity: 0.5 })).toBe(0.003);
    const given = resolveSettings({ targetSparsity: 0.2, recoverLearningRate: 0.0003 }, sizes);
    expect(rateOf(given, { targetSparsity: 0.5 })).toBe(0.0003);
  });

  it('has the noise of its own target where the noise followed from the target of the parent', () => {
    const noiseOf = (settings: RequestedSettings, overrides: Partial<RunSettings>): number =>
      settingsOfFork(resolveSettings(settings), overrides).maskNoise;
    expect(noiseOf({ targetSparsity: 0.5 }, { targetSparsity: 0.2 })).toBe(0.5);
    expect(noiseOf({ targetSparsity: 0.5 }, { targetSparsity: 0.2, maskNoise: 0.7 })).toBe(0.7);
    expect(noiseOf({ targetSparsity: 0.5, maskNoise: 1 }, { targetSparsity: 0.2 })).toBe(1);
    expect(noiseOf({ preset: 'short' }, { targetSparsity: 0.2 })).toBe(1);
  });

  it('carries the reached target into a fork from the last state while that stays true', () => {
    const parent = trained().state;
    const at = (targetSparsity: number): number | null => {
      const child = new Story();
      child.when({
        kind: 'fork',
        runId: 'c',
        name: '',
        requestId: 'q',
        requestDigest: 'q',
        parent,
        from: { kind: 'last' },
        overrides: { targetSparsity },
        data: null,
      });
      return child.state.targetReachedStep;
    };
    expect([0.05, 0.04, 0.2].map(at)).toEqual([12, 20, null]);
  });

  it('forks from a teacher on an abandoned branch with that branch behind it', () => {
    const story = trained();
    story.when({ kind: 'cancel', reason: '' });
    story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
    story.start(2).train(stateAt(7, 0.021, 'b'));
    const abandoned = story.state.abandonedTeachers.find((one) => one.mark === 3)!;
    expect(teachersUpTo(story.state, abandoned).map((one) => one.state.step)).toEqual([4, 8, 12, 12]);
    expect(teachersUpTo(story.state, story.state.teachers[1]!).map((one) => one.state.step)).toEqual([4, 7]);
    story.when({ kind: 'cancel', reason: '' });
    const { stateDigest } = abandoned.state;
    expect(() => story.when({ kind: 'resume', from: { kind: 'digest', stateDigest }, acceptOtherNumerics: false })).toThrow(
      refusal('TEACHER_ABANDONED'),
    );
  });

  it('refuses unknown teachers and overrides without meaning, naming the field', () => {
    const parent = trained().state;
    const fork = { kind: 'fork', runId: 'c', name: '', requestId: 'q', requestDigest: 'q', parent, data: null } as const;
    expect(() => new Story().when({ ...fork, from: { kind: 'mark', mark: 77 }, overrides: {} })).toThrow(refusal('TEACHER_NOT_FOUND'));
    expect(() => new Story().when({ ...fork, from: { kind: 'last' }, overrides: { totalSteps: 20, warmupSteps: 0 } })).toThrow(
      expect.objectContaining({ field: 'settings.total_steps' }),
    );
  });
});

it('folds past events it does not know, and keeps the chain and revision right', () => {
  const { events } = encodeFacts([launched()], '', () => '');
  const state = fold(events)!;
  const after = evolve(state, { type: 'Unknown', storedType: 'RunBlessed', at: AT, v: 9, chain: 'c', data: {} });
  expect(after).toEqual({ ...state, revision: 1, chain: 'c' });
});

describe('a scan', () => {
  const forms = [{ attention: true, kept: 4, kl: 0.25, loss: 0.125 }];

  test('records each layer that a segment scored, before the state', () => {
    const story = new Story(launched({ recipe: 'scan' })).start();
    const facts = story.when({ ...segment(0, stateAt(2, 0)), scans: [0, 1].map((layer) => ({ layer, forms })) });
    expect(typesOf(facts)).toEqual(['SparsityAdvanced', 'LayerScanned', 'LayerScanned', 'MasksUpdated', 'TargetSparsityReached']);
    expect(story.state.scans).toEqual([0, 1].map((layer) => ({ layer, forms })));
    expect(planSegment(story.state)).toMatchObject({ firstStep: 2, stretches: [{ teacher: { kind: 'none' } }] });
  });

  test('knows the last score of a layer that it scored twice', () => {
    const story = new Story(launched({ recipe: 'scan' })).start();
    story.when({ ...segment(0, stateAt(1, 0)), scans: [{ layer: 0, forms }] });
    story.when({ kind: 'fallBack', attempt: 1, stateDigest: null });
    const again = [{ ...forms[0]!, kl: 0.5 }];
    story.when({ ...segment(0, stateAt(1, 0, 'b')), scans: [{ layer: 0, forms: again }] });
    expect(story.state.scans).toEqual([{ layer: 0, forms: again }]);
  });
});
