// Tests that short runs, and forks with few steps left, end at their target and never exceed it by much: real processes, the tiny model.
import { v1 } from '#protocol';
import { collect, TestServer, unary } from './harness/server.js';

const ONE_POINT = 0.01;
/** How near the exported masks come to the target: half of an intermediate unit of the tiny model is 0.08 points. */
const HALF_A_POINT = 0.005;
const STEPS = 150;

describe('a run of 150 steps', () => {
  const server = TestServer.inNewFolder();
  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  const sparsities = async (runId: string): Promise<number[]> => {
    const request = v1.QueryMetricsRequest.fromPartial({ runId, maxPoints: 10_000 });
    const { steps } = await unary<v1.QueryMetricsResponse>((done) => server.history.queryMetrics(request, done));
    return steps.map(({ expectedSparsity }) => expectedSparsity);
  };
  const expectOnTarget = async (run: v1.Run, target: number): Promise<void> => {
    expect(run.targetMissed).toBe(false);
    expect(Math.abs(run.expectedSparsity - target)).toBeLessThan(ONE_POINT);
    expect(Math.abs(run.hardSparsity - target)).toBeLessThan(HALF_A_POINT);
    const reached = (await server.events(run.runId)).filter(({ type }) => type === 'TargetSparsityReached');
    expect(reached.length).toBe(1);
  };

  it.each([0.1, 0.3, 0.5, 0.8])('ends at its target of %d and never goes beyond it', async (targetSparsity) => {
    const { runId } = await server.launch({ targetSparsity, totalSteps: STEPS, segmentSteps: 50 });
    await expectOnTarget(await server.completed(runId), targetSparsity);
    expect(Math.max(...(await sparsities(runId)))).toBeLessThan(targetSparsity + ONE_POINT);
  });

  it('may follow on a fork, to a higher target or a lower one', async () => {
    const parent = await server.launch({ targetSparsity: 0.4, totalSteps: STEPS, segmentSteps: 50 });
    await server.completed(parent.runId);
    for (const targetSparsity of [0.7, 0.2]) {
      const request = v1.ForkRunRequest.fromPartial({
        parentRunId: parent.runId,
        from: { $case: 'lastState', value: true },
        settings: { targetSparsity, totalSteps: 2 * STEPS },
      });
      const { run } = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
      const done = await server.completed(run!.runId);
      expect(Math.abs(done.expectedSparsity - targetSparsity)).toBeLessThan(ONE_POINT);
      expect(Math.abs(done.hardSparsity - targetSparsity)).toBeLessThan(HALF_A_POINT);
      const least = Math.min(...(await sparsities(done.runId)).slice(-50));
      expect(least).toBeGreaterThan(targetSparsity - ONE_POINT);
      expect(Math.max(...(await sparsities(done.runId)))).toBeLessThan(Math.max(targetSparsity, 0.4) + ONE_POINT);
    }
  });

  it('recovers with the masks that met the target, also on a fork, and is computed again to the same bits', async () => {
    const settings = { targetSparsity: 0.3, totalSteps: STEPS, segmentSteps: 50 };
    const pruned = await server.completed((await server.launch(settings)).runId);
    const recovered = await server.completed((await server.launch({ ...settings, recoverSteps: 20 })).runId);
    const request = v1.ForkRunRequest.fromPartial({
      parentRunId: pruned.runId,
      from: { $case: 'lastState', value: true },
      settings: { recoverSteps: 20 },
    });
    const { run } = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
    const forked = await server.completed(run!.runId);
    expect(forked.stateDigest).toBe(recovered.stateDigest);
    for (const one of [pruned, recovered, forked]) {
      expect(one.targetMissed).toBe(false);
      expect(Math.abs(one.hardSparsity - 0.3)).toBeLessThan(HALF_A_POINT);
    }
    const replay = v1.VerifyRunRequest.fromPartial({ runId: recovered.runId, replay: true, fromStep: 100n, toStep: BigInt(STEPS + 10) });
    expect((await collect(server.history.verifyRun(replay))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
  });

  it('with its groups rounded each by itself, has other masks of the same log-alphas', async () => {
    const settings = { targetSparsity: 0.3, totalSteps: 40 };
    const bySize = await server.completed((await server.launch(settings)).runId);
    const maskRounding = v1.MaskRounding.MASK_ROUNDING_GROUPS;
    const byGroup = await server.completed((await server.launch({ ...settings, maskRounding })).runId);
    expect(bySize.settings!.maskRounding).toBe(v1.MaskRounding.MASK_ROUNDING_SIZE);
    expect(byGroup.stateDigest).not.toBe(bySize.stateDigest);
  });

  it('with multipliers, as published, stops far below its target', async () => {
    const { runId } = await server.launch({
      targetSparsity: 0.5,
      totalSteps: STEPS,
      sparsityControl: v1.SparsityControl.SPARSITY_CONTROL_MULTIPLIERS,
    });
    const done = await server.completed(runId);
    expect(done.settings).toMatchObject({ maskLearningRate: 0.1, lambdaLearningRate: 1 });
    expect(done.targetMissed).toBe(true);
  });
});
