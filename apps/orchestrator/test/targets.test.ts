// Short runs, and forks with few steps left, end at their target and never swing beyond it: real processes, the tiny model.
import { v1 } from '#protocol';
import { TestServer, unary } from './harness/server.js';

const ONE_POINT = 0.01;
/** The largest of the tiny model's units by the parameters that go with it: a hidden one. */
const ONE_UNIT = 1 / 64;
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
    expect(Math.abs(run.hardSparsity - target)).toBeLessThan(ONE_POINT + ONE_UNIT);
    const reached = (await server.events(run.runId)).filter(({ type }) => type === 'TargetSparsityReached');
    expect(reached.length).toBe(1);
  };

  it.each([0.1, 0.5, 0.8])('ends at its target of %d and never goes beyond it', async (targetSparsity) => {
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
        overrides: { targetSparsity, totalSteps: 2 * STEPS },
      });
      const { run } = await unary<v1.ForkRunResponse>((done) => server.runs.forkRun(request, done));
      const done = await server.completed(run!.runId);
      expect(Math.abs(done.expectedSparsity - targetSparsity)).toBeLessThan(ONE_POINT);
      const least = Math.min(...(await sparsities(done.runId)).slice(-50));
      expect(least).toBeGreaterThan(targetSparsity - ONE_POINT);
      expect(Math.max(...(await sparsities(done.runId)))).toBeLessThan(Math.max(targetSparsity, 0.4) + ONE_POINT);
    }
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
