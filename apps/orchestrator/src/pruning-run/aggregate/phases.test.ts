import { snapshotsTaken } from '../method/teacher-policy.js';
import { resolveSettings } from '../method/run-settings.js';
import { planSegment } from '../planning/segment-plan.js';
import { planTraining } from '../planning/training-plan.js';
import { launched, stateAt, Story, typesOf } from '../testing.js';
import { settingsOfFork } from './starting-points.js';

/** A run of 20 steps of pruning in segments of 10, then 15 steps of recovery. */
const asked = { totalSteps: 20, segmentSteps: 10, recoverSteps: 15, targetSparsity: 0.02 };
const recovering = (more: object = {}): Story =>
  new Story(launched({ ...asked, ...more })).start().train(stateAt(10, 0.01), stateAt(20, 0.02));
const engine = {
  teachersKept: 8,
  teachersHeld: 0,
  holdsTeacher: () => true,
  stillHolds: () => true,
  readsFiles: false,
  fileOf: () => null,
};

describe('a run of two phases', () => {
  it('begins the second where pruning ends: masks frozen, no teacher instructs, and each fact says its phase', () => {
    const story = new Story(launched(asked)).start().train(stateAt(10, 0.01));
    expect(story.state).toMatchObject({ phase: 'prune', phases: [{ kind: 'prune' }, { kind: 'recover', firstStep: 20, endStep: 35 }] });
    const before = story.facts.length;
    story.train(stateAt(20, 0.02));
    const facts = story.facts.slice(before);
    expect(typesOf(facts).slice(-2)).toEqual(['PhaseStarted', 'TeacherAssigned']);
    expect(facts.at(-2)!.data).toMatchObject({ phase: 'recover', fromStep: 20, endStep: 35, masksDigest: stateAt(20, 0.02).masksDigest });
    expect(facts.at(-1)!.data).toMatchObject({ phase: 'recover', fromStep: 20, teacher: { kind: 'none' }, reason: 'recovery' });
    expect(facts.find(({ type }) => type === 'MasksUpdated')!.data).toMatchObject({ phase: 'prune' });
    story.train(stateAt(30, 0.02));
    expect(story.facts.findLast(({ type }) => type === 'MasksUpdated')!.data).toMatchObject({ phase: 'recover', firstStep: 20 });
    expect(story.state.phase).toBe('recover');
  });
  it('keeps the state that pruning ends with: it can be rewound to and forked from', () => {
    const story = new Story(launched(asked)).start().train(stateAt(10, 0.012));
    const before = story.facts.length;
    story.train(stateAt(20, 0.0199));
    const kept = story.facts.slice(before).filter(({ type }) => type === 'TeacherSnapshotted');
    expect(kept).toMatchObject([{ data: { phase: 'prune', mark: 2, threshold: 0.0199, state: { step: 20 } } }]);
    story.train(stateAt(30, 0.0199));
    story.when({ kind: 'requestPause' });
    story.when({ kind: 'confirmPause', by: 'request' });
    story.when({ kind: 'resume', from: { kind: 'mark', mark: 2 }, acceptOtherNumerics: false });
    expect(story.state).toMatchObject({ current: { step: 20 }, teachers: [{ mark: 1 }, { mark: 2 }] });
    story.start(2);
    expect(story.state).toMatchObject({ phase: 'recover', assignment: { reason: 'rewound', fromStep: 20 } });
    expect(snapshotsTaken(story.state.settings).likely).toBe(2);
  });
  it('keeps no second snapshot of a state that is one already, and none where no phase follows', () => {
    const snapshots = (story: Story): unknown[] =>
      story.facts.filter(({ type }) => type === 'TeacherSnapshotted').map(({ data }) => (data as { mark: number }).mark);
    expect(snapshots(new Story(launched(asked)).start().train(stateAt(10, 0.005), stateAt(20, 0.013)))).toEqual([1]);
    const pruningOnly = new Story(launched({ ...asked, recoverSteps: 0 })).start().train(stateAt(10, 0.012), stateAt(20, 0.0199));
    expect(snapshots(pruningOnly)).toEqual([1]);
  });
  it('plans no segment across the phases, by the losses and the rate of each', () => {
    const pruning = new Story(launched({ ...asked, segmentSteps: 13 })).start().train(stateAt(13, 0.01)).state;
    expect(planSegment(pruning)).toMatchObject({ firstStep: 13, endStep: 20, losses: { layerWeight: 1, lmWeight: 0 } });
    expect(planTraining(pruning, engine).endStep).toBe(20);
    const run = recovering().state;
    expect(planSegment(run)).toMatchObject({
      firstStep: 20,
      endStep: 30,
      stopAtExpectedSparsity: null,
      losses: { layerWeight: 0, lmWeight: 1 },
    });
    expect(planTraining(run, engine)).toMatchObject({ endStep: 35, marks: [] });
  });
  it('has the intact model instruct where recovery distils', () => {
    expect(recovering({ recoverKlLossWeight: 0.5 }).state.assignment).toMatchObject({ teacher: { kind: 'intact' }, reason: 'recovery' });
  });
  it('completes after the last phase, not before', () => {
    const story = recovering();
    const complete = { kind: 'complete', attempt: 1, evaluationError: null } as const;
    expect(() => story.when(complete)).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
    expect(typesOf(story.train(stateAt(30, 0.02), stateAt(35, 0.02)).when(complete))).toEqual(['RunCompleted']);
  });
  it('is rewound into pruning, and recovers again', () => {
    const story = recovering().train(stateAt(30, 0.02));
    story.when({ kind: 'requestPause' });
    story.when({ kind: 'confirmPause', by: 'request' });
    story.when({ kind: 'resume', from: { kind: 'mark', mark: 1 }, acceptOtherNumerics: false });
    expect(story.state).toMatchObject({ phase: 'prune', current: { step: 10 } });
    story.start(2).train(stateAt(20, 0.02, 'again'));
    expect(story.state.phase).toBe('recover');
  });
});

describe('a fork into recovery', () => {
  const parent = new Story(launched({ totalSteps: 20, segmentSteps: 10, targetSparsity: 0.02 }))
    .start()
    .train(stateAt(10, 0.01), stateAt(20, 0.02)).state;
  const fork = (from: object, overrides: object, of = parent): Story => {
    const story = new Story();
    story.when({
      kind: 'fork',
      runId: 'bbbbccccdddd',
      name: 'f',
      requestId: 'f',
      requestDigest: 'f',
      parent: of,
      data: null,
      from,
      overrides,
    } as never);
    return story;
  };
  it('begins at the end of pruning, or at a teacher where pruning is to end', () => {
    for (const [from, overrides, step] of [
      [{ kind: 'last' }, { recoverSteps: 40 }, 20],
      [{ kind: 'mark', mark: 1 }, { recoverSteps: 40, totalSteps: 10, warmupSteps: 3 }, 10],
    ] as const) {
      const story = fork(from, overrides);
      expect(story.state).toMatchObject({ phase: 'prune', current: { step } });
      story.start(1);
      expect(story.state).toMatchObject({ phase: 'recover', assignment: { teacher: { kind: 'none' }, fromStep: step } });
    }
  });
  it('may not say that pruning ended before where it starts', () => {
    expect(() => fork({ kind: 'last' }, { recoverSteps: 40, totalSteps: 15, warmupSteps: 3 })).toThrow(
      expect.objectContaining({ field: 'settings.total_steps' }),
    );
    expect(() => fork({ kind: 'last' }, {})).toThrow(expect.objectContaining({ field: 'settings.total_steps' }));
  });
  it('asks for no target that no step of pruning is left to reach', () => {
    expect(() => fork({ kind: 'last' }, { recoverSteps: 40, targetSparsity: 0.3 })).toThrow(
      expect.objectContaining({
        field: 'settings.target_sparsity',
        message: expect.stringContaining('asks for a sparsity of 30.0%, but no step of pruning is left, so the fork keeps the 2.0%'),
      }),
    );
    expect(fork({ kind: 'last' }, { recoverSteps: 40, targetSparsity: 0.025 }).state).not.toBeNull(); // what it has is near enough
    expect(fork({ kind: 'last' }, { totalSteps: 40, targetSparsity: 0.3 }).state).not.toBeNull();
  });
  it('goes on behind the end of recovery only with more steps of it', () => {
    const recovered = recovering().train(stateAt(30, 0.02), stateAt(35, 0.02)).state;
    for (const overrides of [{}, { recoverSteps: 15 }])
      expect(() => fork({ kind: 'last' }, overrides, recovered)).toThrow(
        expect.objectContaining({
          field: 'settings.recover_steps',
          message: expect.stringContaining('must be above 15, the steps of recovery'),
        }),
      );
    expect(fork({ kind: 'last' }, { recoverSteps: 16 }, recovered).state).toMatchObject({ phase: 'recover', current: { step: 35 } });
  });
  it('keeps what acts on the first step of recovery alone', () => {
    const recovered = recovering().train(stateAt(30, 0.02), stateAt(35, 0.02)).state;
    for (const [field, changed] of [
      ['recover_lora_rank', { recoverLoraRank: 64 }],
      ['recover_refit_batches', { recoverRefitBatches: 2 }],
    ] as const)
      expect(() => fork({ kind: 'last' }, { recoverSteps: 16, ...changed }, recovered)).toThrow(
        expect.objectContaining({ field: `settings.${field}`, message: expect.stringContaining('fork from the end of pruning') }),
      );
  });
  it('without recovery takes LoRA as a launch does, though the parent recovers its own weights', () => {
    const recovers = resolveSettings({ totalSteps: 40 });
    const asLaunched = resolveSettings({ totalSteps: 40, recoverSteps: 0 });
    expect([recovers.recoverWeights, asLaunched.recoverWeights]).toEqual(['all', 'lora']);
    const { loraRank, evaluationTokens } = recovers;
    expect(settingsOfFork(recovers, { recoverSteps: 0 })).toEqual({ ...asLaunched, loraRank, evaluationTokens });
    expect(settingsOfFork(recovers, { recoverSteps: 0, recoverWeights: 'all' }).recoverWeights).toBe('all'); // which is then refused
  });
  it('warms up for its own number of steps', () => {
    expect(settingsOfFork(resolveSettings({ preset: 'short' }), { recoverSteps: 200 }).recoverWarmupSteps).toBe(10);
    expect(settingsOfFork(resolveSettings({ preset: 'short', recoverSteps: 200 }), {}).recoverWarmupSteps).toBe(10);
  });
});
