// Tests that a run with a time measures its steps once, and goes on with the steps that it recorded.
import { v1 } from '#protocol';
import type { PruningRunEventData } from '../src/pruning-run/record/pruning-run.events.js';
import { recordProblems } from './harness/record-checks.js';
import { CLOSELY_MS, codeOf, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

const { totalSteps: _, ...untimed } = TINY_RUN;
/** More than the test takes, so that the run is still under way when it is disturbed. */
const TIMED: Partial<v1.RunSettings> = { ...untimed, preset: 'nuteprune2', totalSteps: undefined, segmentSteps: 5, time: 3_000 };

describe('a run with a time', () => {
  const server = TestServer.inNewFolder();
  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  const factsOf = async (runId: string, type: string): Promise<{ revision: bigint; data: unknown }[]> =>
    (await server.events(runId))
      .filter((event) => event.type === type)
      .map(({ revision, dataJson }) => ({ revision, data: JSON.parse(dataJson) }));
  const cancel = (runId: string): Promise<unknown> => unary((done) => server.runs.cancelRun({ runId, reason: '' }, done));
  const firstState = async (runId: string): Promise<string> => {
    await server.until(runId, ({ step }) => step > 0n, CLOSELY_MS);
    const [segment] = await factsOf(runId, 'MasksUpdated');
    return (segment!.data as PruningRunEventData<'MasksUpdated'>).state.stateDigest;
  };

  it('measures its steps before the first one, and never again', async () => {
    const launched = await server.launch(TIMED);
    expect(launched).toMatchObject({ stepsToChoose: true, phases: [], settings: { time: 3_000, totalSteps: undefined } });
    const { runId } = launched;
    const digest = await firstState(runId);
    await server.killAll();
    await server.until(runId, ({ attempt, status }) => attempt > 1 && status === v1.RunStatus.RUN_STATUS_TRAINING);
    await cancel(runId);

    const chosen = await factsOf(runId, 'StepsChosen');
    expect(chosen).toHaveLength(1);
    const { settings, expectedSeconds } = chosen[0]!.data as PruningRunEventData<'StepsChosen'>;
    expect(expectedSeconds).toBeLessThanOrEqual(3_000);
    const [attached] = await factsOf(runId, 'EngineAttached');
    expect(chosen[0]!.revision).toBeLessThan(attached!.revision);
    const run = await server.run(runId);
    expect(run).toMatchObject({ stepsToChoose: false, settings: { ...settings, time: 3_000 } });
    expect(run.settings!.recoverSteps! / run.settings!.totalSteps!).toBeGreaterThanOrEqual(8);
    expect(recordProblems(await server.events(runId))).toEqual([]);
    expect(await server.problemsOf(runId)).toEqual([]);

    // A run that names these steps begins with the same bits.
    const { totalSteps, recoverSteps } = run.settings!;
    const named = await server.launch({ ...TIMED, time: undefined, totalSteps, recoverSteps });
    expect(await firstState(named.runId)).toBe(digest);
    await cancel(named.runId);
  });

  it('has no steps in its plan, and about as many as fit at the speed of an earlier run', async () => {
    const plan = (time: number): Promise<v1.PlanRunResponse> =>
      unary((done) =>
        server.runs.planRun(
          v1.PlanRunRequest.fromPartial({ modelPath: TINY_MODEL, settings: { ...TIMED, time }, forDevice: 'h100-80gb' }),
          done,
        ),
      );
    const [short, long] = [await plan(60), await plan(600)];
    expect(short.stepsToChoose).toBe(true);
    const { totalSteps, recoverSteps, warmupSteps, evaluationTokens } = short.settings!;
    expect([totalSteps, recoverSteps, warmupSteps, evaluationTokens, short.estimatedSeconds, short.card!.seconds]).toEqual(
      Array<undefined>(6).fill(undefined),
    );
    expect(Number(long.estimatedSteps) / Number(short.estimatedSteps)).toBeCloseTo(10, 1);
  });

  it('is measured for a plan, at both ends of the sparsity, without a run and without a trace', async () => {
    const measure = async (settings: Partial<v1.RunSettings>): Promise<v1.MeasuredPlan> => {
      const plan = v1.PlanRunRequest.fromPartial({ modelPath: TINY_MODEL, settings });
      let measured: v1.MeasuredPlan | undefined;
      for await (const message of server.runs.measurePlan({ plan })) measured = (message as v1.MeasurePlanResponse).measured ?? measured;
      return measured!;
    };
    const runs = async (): Promise<unknown> =>
      unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done)).then((list) => list.runs.length);
    const before = await runs();
    const steps = await measure({ ...TIMED, time: undefined, totalSteps: 1_000, recoverSteps: 500 });
    expect([steps.totalSteps, steps.recoverSteps]).toEqual([1_000n, 500n]);
    const [open, atTarget, recovery] = [steps.stepOpenSeconds, steps.stepAtTargetSeconds, steps.recoveryStepSeconds];
    expect(Math.min(open, atTarget, recovery, steps.evaluationSeconds)).toBeGreaterThan(0);
    expect(steps.seconds).toBeGreaterThan(1_000 * Math.min(open, atTarget) + 500 * recovery);
    expect(steps.fastSeconds).toBeLessThanOrEqual(steps.seconds);
    expect(steps.slowSeconds).toBeGreaterThanOrEqual(steps.seconds);
    const scan = await measure({ recipe: v1.Recipe.RECIPE_SCAN, calibrationSequences: 4, scanSequences: 2 });
    expect(scan.totalSteps).toBeGreaterThan(1n);
    expect(scan.seconds).toBeGreaterThan(scan.closingSeconds);
    expect(scan.closingSeconds).toBeGreaterThan(0);
    const timed = await measure(TIMED);
    expect(timed.seconds).toBeLessThanOrEqual(3_000);
    expect(timed.recoverSteps).toBeGreaterThan(timed.totalSteps);
    expect(await runs()).toEqual(before);
  });

  it('fails with the shortest time that works, where its own is too short', async () => {
    // Its steps are long, so that a second is too short on a quick machine as well. It measures a pruned teacher too.
    const long = { ...TIMED, batchSize: 8, sequenceLength: 128 };
    const { runId } = await server.launch({ ...long, recipe: v1.Recipe.RECIPE_NUTEPRUNE, time: 1 });
    const run = await server.until(runId, ({ status }) => status === v1.RunStatus.RUN_STATUS_FAILED);
    expect(run.failure).toMatchObject({ code: 'TIME_TOO_SHORT', field: 'settings.time' });
    expect(run.failure!.message).toMatch(/is 1s: the shortest time that works here is \d+[smh], with 10 of pruning and 80 of recovery/);
  });

  it('is refused with a time and steps, and with a time out of range', async () => {
    const refused = async (settings: Partial<v1.RunSettings>): Promise<[string, string]> => {
      const error = (await server.launch({ ...TIMED, ...settings }).catch((one: unknown) => one)) as Error;
      return [codeOf(error), error.message];
    };
    expect(await refused({ totalSteps: 7 })).toEqual(['REQUEST_INVALID', expect.stringContaining('is 50m, but total_steps is 7')]);
    expect((await refused({ time: 3e6 }))[1]).toContain('must be from 1s to 720h');
  });
});
