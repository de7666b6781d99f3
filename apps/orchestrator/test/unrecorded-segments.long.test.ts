// Tests segments that the engine has ended and that still wait to be recorded, since the engine trains ahead of the record.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { ENDLESS, isOver, TestServer, unary } from './harness/server.js';

const { RUN_STATUS_CANCELLED } = v1.RunStatus;

/** The facts of training, without the fields that may differ from one run to the next. */
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
  /** The run is long enough to be disturbed in the middle. */
  const settings = { totalSteps: 360, warmupSteps: 180, targetSparsity: 0.3 };
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

  /** Disturbs a run whose engine has reported several segments, of which at most the first is recorded. */
  function aheadOfItsRecord(by: (runId: string) => Promise<unknown>): Promise<v1.Run> {
    return late.disturbed({
      launch: () => late.launch(settings),
      when: () => true,
      by: async (runId) => {
        const watching = late.runs.watchRun(v1.WatchRunRequest.fromPartial({ runId, follow: true }));
        watching.on('error', () => undefined); // it is cancelled
        for await (const { steps } of watching as AsyncIterable<v1.WatchRunResponse>) if (steps.some(({ step }) => step >= 60n)) break;
        watching.cancel();
        const events = await late.events(runId);
        if (events.some(({ type }) => type === 'RunCompleted')) return false;
        expect(factsOf(events).filter((one) => one.startsWith('MasksUpdated')).length).toBeLessThanOrEqual(1);
        return by(runId);
      },
    });
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
    let seen: v1.HistoryEvent[] = [];
    const { runId } = await aheadOfItsRecord(async (runId) => {
      seen = await late.events(runId);
      await late.killAll();
    });
    expect(await completedFacts(runId)).toEqual(expected);
    expect(recordProblems(await late.events(runId), seen)).toEqual([]);
  });

  it('are recorded when the engine dies', async () => {
    const { runId } = await aheadOfItsRecord(async (runId) => {
      late.signal('engine', 'SIGKILL');
      expect((await late.until(runId, (run) => run.restarts > 0 || isOver(run))).step).toBeGreaterThanOrEqual(50n);
    });
    expect(await completedFacts(runId)).toEqual(expected);
  });

  it('wait for an event store that died', async () => {
    const { runId } = await aheadOfItsRecord(async (runId) => {
      late.signal('store', 'SIGKILL');
      return !isOver(await late.run(runId));
    });
    expect(await completedFacts(runId)).toEqual(expected);
  });

  it('are recorded before a pause', async () => {
    const { runId } = await aheadOfItsRecord(async (runId) => {
      if (!(await late.pause(runId))) return false;
      expect((await late.run(runId)).step).toBeGreaterThanOrEqual(60n);
      await late.resume(runId);
      return true;
    });
    const facts = factsOf(await late.events(runId));
    // The pause may cut the last segment, which changes its first step and none of its bits.
    const stateOf = (fact: string): unknown => (JSON.parse(fact.slice(fact.indexOf('{'))) as { state: unknown }).state;
    expect(stateOf(facts.at(-1)!)).toEqual(stateOf(expected.at(-1)!));
    expect(facts.filter((one) => one.startsWith('TeacherSnapshotted'))).toEqual(
      expected.filter((one) => one.startsWith('TeacherSnapshotted')),
    );
  });

  it('are given up with a run that is cancelled, and the next one trains', async () => {
    const { runId } = await late.launch(ENDLESS);
    await late.until(runId, ({ liveStep }) => liveStep >= 60n);
    await unary<v1.CancelRunResponse>((done) => late.runs.cancelRun({ runId, reason: '' }, done));
    await late.until(runId, ({ status }) => status === RUN_STATUS_CANCELLED);
    const next = await late.launch(settings);
    expect(await completedFacts(next.runId)).toEqual(expected);
  });
});
