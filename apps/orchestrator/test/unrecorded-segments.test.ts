// The engine trains ahead of the record: what happens to segments that it has ended and that wait to be recorded.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { TestServer, unary } from './harness/server.js';

const { RUN_STATUS_PAUSED, RUN_STATUS_CANCELLED } = v1.RunStatus;

/** Facts of training, without what may differ from one run to the next. */
function factsOf(events: v1.HistoryEvent[]): string[] {
  return events.flatMap(({ type, dataJson }) => {
    if (!['SparsityAdvanced', 'MasksUpdated', 'TeacherSnapshotted', 'TeacherAssigned', 'TargetSparsityReached'].includes(type)) return [];
    const kept = JSON.parse(dataJson, (key, value: unknown) =>
      ['attempt', 'at', 'chain', 'metricsRevision', 'metricsDigest', 'trainingSeconds'].includes(key) ? undefined : value,
    ) as unknown;
    return [`${type} ${JSON.stringify(kept)}`];
  });
}

describe('segments that wait to be recorded', () => {
  const atOnce = TestServer.inNewFolder({ ESPALIER_RECORD_INTERVAL_MS: '0' });
  const late = TestServer.inNewFolder({ ESPALIER_RECORD_INTERVAL_MS: '60000' });
  /** Long enough to be met in the middle of it. */
  const settings = { totalSteps: 600, warmupSteps: 300, targetSparsity: 0.3 };
  let expected: string[] = [];

  beforeAll(async () => {
    await atOnce.start();
    const run = await atOnce.completed((await atOnce.launch(settings)).runId);
    expected = factsOf(await atOnce.events(run.runId));
    await atOnce.stop();
    await late.start();
  });
  afterAll(async () => {
    await late.dispose();
    await atOnce.dispose();
  });

  /** A run whose engine has told of several segments; the first at most is recorded. */
  async function aheadOfItsRecord(): Promise<string> {
    const { runId } = await late.launch(settings);
    const watching = late.runs.watchRun(v1.WatchRunRequest.fromPartial({ runId, follow: true }));
    watching.on('error', () => undefined); // cancelled
    for await (const { steps } of watching as AsyncIterable<v1.WatchRunResponse>) if (steps.some(({ step }) => step >= 60n)) break;
    watching.cancel();
    expect(factsOf(await late.events(runId)).filter((one) => one.startsWith('MasksUpdated')).length).toBeLessThanOrEqual(1);
    return runId;
  }
  const completedFacts = async (runId: string): Promise<string[]> => {
    await late.completed(runId);
    return factsOf(await late.events(runId));
  };

  it('become the same facts in the same order as those that are recorded one by one', async () => {
    const { runId } = await late.launch(settings);
    expect(await completedFacts(runId)).toEqual(expected);
  });

  it('last segment_steps unless a mark, the target or the last step ends them, also where a call to the engine ends', async () => {
    const segmentSteps = 3;
    const { runId } = await late.launch({ totalSteps: 120, warmupSteps: 100, segmentSteps, teacherGapMarks: 20 });
    await late.completed(runId);
    const facts = (await late.events(runId)).map(({ type, dataJson }) => ({
      type,
      data: JSON.parse(dataJson) as { firstStep: number; step: number; state: { step: number } },
    }));
    const early = new Set(
      facts.flatMap(({ type, data }) =>
        type === 'TeacherSnapshotted' ? [data.state.step] : type === 'TargetSparsityReached' ? [data.step] : [],
      ),
    );
    const segments = facts
      .filter(({ type }) => type === 'MasksUpdated')
      .map(({ data: { firstStep, state } }) => [firstStep, state.step] as const);
    expect(early.size).toBeGreaterThan(5);
    expect(segments.filter(([from, to]) => to - from !== segmentSteps && !early.has(to) && to !== 120)).toEqual([]);
  });

  it('are trained again after the death of all processes', async () => {
    const runId = await aheadOfItsRecord();
    const seen = await late.events(runId);
    await late.kill('engine', 'store');
    await late.start();
    expect(await completedFacts(runId)).toEqual(expected);
    expect(recordProblems(await late.events(runId), seen)).toEqual([]);
  });

  it('are recorded when the engine dies', async () => {
    const runId = await aheadOfItsRecord();
    late.signal('engine', 'SIGKILL');
    expect((await late.until(runId, ({ restarts }) => restarts > 0)).step).toBeGreaterThanOrEqual(50n);
    expect(await completedFacts(runId)).toEqual(expected);
  });

  it('wait for an event store that died', async () => {
    const runId = await aheadOfItsRecord();
    late.signal('store', 'SIGKILL');
    expect(await completedFacts(runId)).toEqual(expected);
  });

  it('are recorded before a pause', async () => {
    const runId = await aheadOfItsRecord();
    await unary<v1.PauseRunResponse>((done) => late.runs.pauseRun({ runId }, done));
    const { step } = await late.until(runId, ({ status }) => status === RUN_STATUS_PAUSED, 10_000);
    expect(step).toBeGreaterThanOrEqual(60n);
    await unary<v1.ResumeRunResponse>((done) => late.runs.resumeRun({ runId, from: undefined, acceptOtherNumerics: false }, done));
    await late.completed(runId);
    const facts = factsOf(await late.events(runId));
    expect(facts.at(-1)).toBe(expected.at(-1));
    expect(facts.filter((one) => one.startsWith('TeacherSnapshotted'))).toEqual(
      expected.filter((one) => one.startsWith('TeacherSnapshotted')),
    );
    expect(step).toBeLessThan(600n);
  });

  it('are given up with a run that is cancelled, and the next one trains', async () => {
    const runId = await aheadOfItsRecord();
    await unary<v1.CancelRunResponse>((done) => late.runs.cancelRun({ runId, reason: '' }, done));
    await late.until(runId, ({ status }) => status === RUN_STATUS_CANCELLED, 10_000);
    const next = await late.launch(settings);
    expect(await completedFacts(next.runId)).toEqual(expected);
  });
});
