import { artifactsOf, thinned, thinningViolations } from './discarding.js';
import { neededArtifacts } from './pruning-run.js';
import { data, launched, masked, stateAt, Story, typesOf } from '../testing.js';
import { snapshotsTaken, teacherAt } from '../method/teacher-policy.js';
import { resolveSettings } from '../method/run-settings.js';

const refusal = (code: string): Error => expect.objectContaining({ code });
const none = new Set<string>();
const digestAt = (step: number): string => stateAt(step, 0).stateDigest;

/** A completed run: teachers 1 to 7 at steps 10 to 70, the last state at step 100, and an export of teacher 3. */
function trained(): Story {
  const story = new Story(launched({ targetSparsity: 0.08, teacherGapMarks: 2 })).start();
  for (let mark = 1; mark <= 7; mark += 1) story.train(stateAt(mark * 10, mark / 100 + 0.001));
  story.train(stateAt(100, 0.081));
  story.when({ kind: 'complete', attempt: 1, evaluationError: null });
  const { step, stateDigest } = stateAt(30, 0);
  const exported = { exportDigest: 'ef'.repeat(32), form: 'masked' as const, dtype: 'bf16', parameterCount: 1, bytes: 9, teacherMark: 3 };
  story.when({
    kind: 'recordExport',
    ...exported,
    step,
    stateDigest,
    made: masked,
    files: [{ name: 'a', bytes: 9, digest: 'fe'.repeat(32) }],
  });
  return story;
}
const thinning = (part: Partial<Parameters<typeof thinned>[1]> = {}): Parameters<typeof thinned>[1] => ({
  keepEvery: null,
  abandoned: false,
  exports: false,
  ...part,
});
const discard = (part: Partial<Parameters<typeof thinned>[1]>, neededElsewhere: ReadonlySet<string> = none) =>
  ({ kind: 'discard', reason: 'room', thinning: thinning(part), neededElsewhere }) as const;

describe('thinning a run out', () => {
  it('keeps every n-th teacher, the last one, the last state, and what an export was made from', () => {
    const story = trained();
    const [fact] = story.when(discard({ keepEvery: 4 }));
    expect(fact).toMatchObject({ type: 'ArtifactsDiscarded', data: { reason: 'room', keepEvery: 4 } });
    expect(story.state.teachers.map(({ mark }) => mark)).toEqual([3, 4, 7]); // teacher 3 stays because it was exported
    const needed = neededArtifacts(story.state);
    for (const step of [30, 40, 70, 100]) expect(needed.has(digestAt(step))).toBe(true);
    for (const step of [10, 20, 50, 60]) expect(needed.has(digestAt(step))).toBe(false);
    expect(needed.has(data.trainDigest)).toBe(true);
  });

  it('throws exports away, and then the state that only they kept', () => {
    const story = trained();
    story.when(discard({ keepEvery: 4, exports: true }));
    expect(story.state.teachers.map(({ mark }) => mark)).toEqual([4, 7]);
    expect(neededArtifacts(story.state).has('ef'.repeat(32))).toBe(false);
    expect(neededArtifacts(story.state).has('fe'.repeat(32))).toBe(false);
  });

  it('keeps what other runs need', () => {
    const story = trained();
    story.when(discard({ keepEvery: 4 }, new Set([digestAt(50)])));
    expect(story.state.teachers.map(({ mark }) => mark)).toEqual([3, 4, 5, 7]);
  });

  it('names the event to a user who wants a teacher that is gone', () => {
    const story = trained();
    story.when(discard({ keepEvery: 4 }));
    const from = { kind: 'mark', mark: 5 } as const;
    expect(() => story.when({ kind: 'resume', from, acceptOtherNumerics: false })).toThrow(refusal('ARTIFACT_DISCARDED'));
    expect(() => story.when({ kind: 'resume', from, acceptOtherNumerics: false })).toThrow(
      new RegExp(`as event ${story.state.revision} of the run says \\(room\\)`),
    );
    expect(typesOf(story.when({ kind: 'resume', from: { kind: 'mark', mark: 4 }, acceptOtherNumerics: false }))).toEqual(['RunRewound']);
    story.start(2).train(stateAt(50, 0.051));
    expect(story.state.teachers.at(-1)).toMatchObject({ mark: 5 }); // the run takes snapshot 5 again
    expect(neededArtifacts(story.state).has(digestAt(50))).toBe(true);
  });

  it('records nothing where nothing is left to go, and takes an export that is made again for one that is there', () => {
    const story = trained();
    const exported = story.facts.findLast((one) => one.type === 'ModelExported')!;
    story.when(discard({ keepEvery: 4, exports: true }));
    expect(story.when(discard({ keepEvery: 4, exports: true }))).toEqual([]);
    expect(typesOf(story.when({ kind: 'recordExport', ...exported.data } as never))).toEqual(['ModelExported']);
    expect(neededArtifacts(story.state).has('fe'.repeat(32))).toBe(true);
  });

  it('is refused while the run is at work, and where it asks for nothing', () => {
    const story = new Story(launched({ targetSparsity: 0.08 })).start().train(stateAt(10, 0.011), stateAt(20, 0.021));
    expect(() => story.when(discard({ keepEvery: 2 }))).toThrow(refusal('RUN_STILL_ACTIVE'));
    expect(thinningViolations(thinning())).toMatchObject([{ field: 'keep_every', code: 'FIELD_REQUIRED' }]);
    expect(thinningViolations(thinning({ keepEvery: 1 }))).toMatchObject([{ code: 'FIELD_OUT_OF_RANGE' }]);
  });

  it('leaves the teacher that is far enough back, or the next before it', () => {
    const settings = resolveSettings({ preset: 'short', targetSparsity: 0.5, teacherGapMarks: 3 });
    const teachers = [5, 10, 12].map((mark) => ({ mark, threshold: mark / 100, state: stateAt(mark * 10, mark / 100) }));
    const all = Array.from({ length: 12 }, (_, index) => ({ mark: index + 1, threshold: 0, state: stateAt(index, 0) }));
    const chosen = (of: typeof teachers) => teacherAt({ settings, teachers: of, targetReachedStep: null }, 0);
    expect(chosen(all).teacher).toMatchObject({ mark: 10 });
    expect(chosen(all).explanation).toMatch(/^12 snapshots exist: the one 3 back is mark 10,/);
    expect(chosen(teachers).teacher).toMatchObject({ mark: 10 });
    expect(chosen(teachers.slice(0, 1).concat(teachers[2]!)).teacher).toMatchObject({ mark: 5 });
    expect(chosen(teachers).explanation).toMatch(/^3 of 12 snapshots are kept/);
  });
});

describe('deleting a run', () => {
  it('names every artifact that only it needs; nothing is needed after it, and nothing more happens', () => {
    const story = trained();
    const before = artifactsOf(story.state).map(({ digest }) => digest);
    const shared = new Set([data.trainDigest, digestAt(30)]);
    const [fact] = story.when({ kind: 'delete', reason: 'wrong corpus', neededElsewhere: shared });
    expect(fact).toMatchObject({ type: 'RunDeleted', data: { reason: 'wrong corpus', step: 100 } });
    const named = fact!.type === 'RunDeleted' ? fact.data.artifacts.map(({ digest }) => digest) : [];
    expect(named.sort()).toEqual(before.filter((digest) => !shared.has(digest)).sort());
    expect(neededArtifacts(story.state).size).toBe(0);
    expect(story.state).toMatchObject({ status: 'deleted', deleted: { reason: 'wrong corpus' } });
    expect(story.when({ kind: 'delete', reason: 'again', neededElsewhere: none })).toEqual([]);
    for (const change of [
      { kind: 'requestPause' },
      { kind: 'cancel', reason: '' },
      { kind: 'resume', from: { kind: 'mark', mark: 4 }, acceptOtherNumerics: false },
      discard({ keepEvery: 2 }),
    ] as const) {
      expect(() => story.when(change)).toThrow(refusal('RUN_DELETED'));
    }
  });

  it('is refused while anything will still happen by itself; a paused run can be deleted', () => {
    const change = { kind: 'delete', reason: '', neededElsewhere: none } as const;
    expect(() => new Story(launched()).when(change)).toThrow(refusal('RUN_STILL_ACTIVE'));
    const story = new Story(launched()).start();
    expect(() => story.when(change)).toThrow(refusal('RUN_STILL_ACTIVE'));
    story.when({ kind: 'confirmPause', by: 'shutdown' });
    expect(() => story.when(change)).toThrow(refusal('RUN_STILL_ACTIVE'));
    const paused = new Story(launched());
    paused.when({ kind: 'requestPause' });
    expect(typesOf(paused.when(change))).toEqual(['RunDeleted']);
  });
});

it('the number of snapshots to come is known beforehand', () => {
  expect(snapshotsTaken(resolveSettings({ preset: 'short', targetSparsity: 0.08, snapshotInterval: 0.01 })).likely).toBe(7);
  expect(snapshotsTaken(resolveSettings({ preset: 'short', targetSparsity: 0 })).likely).toBe(0);
  // 18 steps of warm-up, the first at 0, reach the 49 marks: each takes one snapshot for all that it reaches.
  const short = resolveSettings({ preset: 'short', targetSparsity: 0.5, totalSteps: 60 });
  expect([short.warmupSteps, snapshotsTaken(short).likely]).toEqual([18, 18]);
});
