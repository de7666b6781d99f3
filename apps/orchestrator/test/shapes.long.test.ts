// Tests runs whose masks learn the shapes that a program needs, with the real processes on the tiny model.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, TestServer, TINY_MODEL, unary } from './harness/server.js';

const BLOCK = 32;

describe('a run for an engine', () => {
  const server = TestServer.inNewFolder();
  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  const exported = async (runId: string, format: string): Promise<v1.ModelExport> =>
    (await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, format, dtype: 'f32' })))).at(-1)!.export!;
  const shapes = ({ layers }: v1.Run): [heads: number, units: number][] => layers.map(({ headsOpen, unitsOpen }) => [headsOpen, unitsOpen]);

  it('with uniform layers has all of them alike, and its export is filled up with nothing', async () => {
    const run = await server.completed(
      (await server.launch({ targetSparsity: 0.5, shapeTarget: v1.ShapeTarget.SHAPE_TARGET_UNIFORM })).runId,
    );
    const [first] = shapes(run);
    expect(shapes(run)).toEqual(run.layers.map(() => first));
    expect([first![1] % BLOCK, run.hiddenOpen % BLOCK]).toEqual([0, 0]);
    expect(run.result!.multiplicationShare).toBeLessThan(0.8);
    const { hiddenSize, layers, notes } = await exported(run.runId, 'hf');
    expect([Number(hiddenSize), layers.map(({ units }) => Number(units))]).toEqual([run.hiddenOpen, run.layers.map(() => first![1])]);
    expect(notes.join()).not.toContain('differ in width');
    expect(recordProblems(await server.events(run.runId))).toEqual([]);
  });

  it('for vllm keeps or drops attention as a whole', async () => {
    const run = await server.completed((await server.launch({ targetSparsity: 0.5, shapeTarget: v1.ShapeTarget.SHAPE_TARGET_VLLM })).runId);
    for (const { headsOpen, heads } of run.layers) expect([0, heads]).toContain(headsOpen);
    expect(run.layers[0]!.headsOpen).toBe(run.layers[0]!.heads);
    expect((await exported(run.runId, 'vllm')).proof!.loaders[0]).toMatchObject({ outcome: 'agrees' });
  });

  it('for gguf is computed again to the same bits, forks with the same shapes and refuses others', async () => {
    const run = await server.completed((await server.launch({ shapeTarget: v1.ShapeTarget.SHAPE_TARGET_GGUF })).runId);
    for (const { unitsOpen } of run.layers) expect(unitsOpen % BLOCK).toBe(0);
    const replayed = v1.VerifyRunRequest.fromPartial({ runId: run.runId, replay: true, fromStep: 0n, toStep: 20n });
    expect((await collect(server.history.verifyRun(replayed))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    const fork = (settings: Partial<v1.RunSettings>): Promise<v1.ForkRunResponse> =>
      unary((cb) =>
        server.runs.forkRun(
          v1.ForkRunRequest.fromPartial({ parentRunId: run.runId, from: { $case: 'lastState', value: true }, settings }),
          cb,
        ),
      );
    await expect(fork({ shapeTarget: v1.ShapeTarget.SHAPE_TARGET_UNIFORM })).rejects.toMatchObject({ code: 'FORK_FIELD_FIXED' });
    const { run: forked } = await fork({ recoverSteps: 20 });
    expect(shapes(await server.completed(forked!.runId))).toEqual(shapes(run));
  });

  it('is told before it is launched that it would hardly be quicker', async () => {
    const plan = (targetSparsity: number): Promise<v1.PlanRunResponse> =>
      unary((cb) => server.runs.planRun(v1.PlanRunRequest.fromPartial({ modelPath: TINY_MODEL, settings: { targetSparsity } }), cb));
    const codes = async (targetSparsity: number): Promise<string[]> => (await plan(targetSparsity)).warnings.map(({ code }) => code);
    expect(await codes(0.05)).toContain('HARDLY_QUICKER');
    expect(await codes(0.5)).not.toContain('HARDLY_QUICKER');
    const { result, parameterCount, prunableParameterCount } = await plan(0.5);
    expect(result!.parameterCount).toBe(parameterCount - prunableParameterCount / 2n);
  });
});
