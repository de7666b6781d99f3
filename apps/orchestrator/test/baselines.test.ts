// Tests baselines with the real processes: runs that prune at once, and single weights set to 0, beside a run that learns its masks.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { codeOf, collect, TestServer, unary } from './harness/server.js';

const { RECIPE_MAGNITUDE, RECIPE_WANDA, RECIPE_TAYLOR, RECIPE_FISHER, RECIPE_DISTILL } = v1.Recipe;
const AT_ONCE = { targetSparsity: 0.3, totalSteps: undefined, segmentSteps: undefined, calibrationSequences: 16 };

describe('runs that prune at once', () => {
  const server = TestServer.inNewFolder();
  const runs = new Map<v1.Recipe, v1.Run>();
  const launched = (recipe: v1.Recipe, settings: Partial<v1.RunSettings> = {}): Promise<v1.Run> =>
    server.launch({ ...AT_ONCE, recipe, ...settings });
  const fork = (parentRunId: string, settings: Partial<v1.RunSettings>): Promise<v1.Run> =>
    unary<v1.ForkRunResponse>((done) =>
      server.runs.forkRun(v1.ForkRunRequest.fromPartial({ parentRunId, from: { $case: 'lastState', value: true }, settings }), done),
    ).then(({ run }) => run!);

  beforeAll(async () => {
    await server.start();
    for (const recipe of [RECIPE_MAGNITUDE, RECIPE_WANDA, RECIPE_TAYLOR, RECIPE_FISHER])
      runs.set(recipe, await server.completed((await launched(recipe)).runId));
  });
  afterAll(() => server.dispose());

  it('end after one step at the sparsity that was asked for, with a perplexity, and say so in their record', async () => {
    for (const run of runs.values()) {
      expect(run).toMatchObject({ step: 1n, teacherCount: 0, settings: { totalSteps: 1, targetSparsity: 0.3 } });
      expect(run.hardSparsity).toBeGreaterThan(0.3 - 1e-5);
      expect(run.hardSparsity).toBeLessThan(0.31);
      expect(run.evaluations.find(({ headline }) => headline)!.perplexity).toBeGreaterThan(1);
      const events = await server.events(run.runId);
      expect(recordProblems(events)).toEqual([]);
      expect(events.map(({ type }) => type)).toEqual(expect.arrayContaining(['TeacherAssigned', 'MasksUpdated', 'TargetSparsityReached']));
    }
    expect(new Set([...runs.values()].map(({ stateDigest }) => stateDigest)).size).toBe(4);
  });

  it('end in the same bits when they are launched again', async () => {
    const again = await server.completed((await launched(RECIPE_WANDA)).runId);
    expect(again.stateDigest).toBe(runs.get(RECIPE_WANDA)!.stateDigest);
  });

  it('are computed again, compared and exported like any other run', async () => {
    const [{ runId }, other] = [runs.get(RECIPE_TAYLOR)!, runs.get(RECIPE_MAGNITUDE)!];
    const verified = await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId, replay: true })));
    expect(verified.at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    const exported = await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, skipProof: true })));
    expect(exported.at(-1)!.export).toMatchObject({ step: 1n });
    const compared: v1.CompareRunsResponse = await unary((done) =>
      server.runs.compareRuns(v1.CompareRunsRequest.fromPartial({ leftRunId: runId, rightRunId: other.runId }), done),
    );
    expect(JSON.stringify(compared, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value))).toContain('magnitude');
  });

  it('recover with their masks, by launch or by fork alike', async () => {
    const recovery = { recoverSteps: 30, recoverLearningRate: 0.01 };
    const whole = await server.completed((await launched(RECIPE_WANDA, recovery)).runId);
    expect(whole).toMatchObject({ step: 31n, phase: 'recover', teacherCount: 1 });
    const forked = await server.completed((await fork(runs.get(RECIPE_WANDA)!.runId, recovery)).runId);
    expect(forked.stateDigest).toBe(whole.stateDigest);
    expect(forked.hardSparsity).toBe(runs.get(RECIPE_WANDA)!.hardSparsity);
  });

  it('keep the widths of layers that a launch names, and repeat them', async () => {
    const { layers } = runs.get(RECIPE_FISHER)!;
    const [{ heads, units }] = layers as [v1.LayerShape, ...v1.LayerShape[]];
    const widths = layers.map((_, layer) => (layer === 0 ? `${heads}/${units}` : `${heads / 2}/${units - 7 * layer}`));
    const asked = { recipe: RECIPE_FISHER, targetSparsity: undefined, layerWidths: widths.join(',') };
    const run = await server.completed((await launched(RECIPE_FISHER, asked)).runId);
    expect(run.layers.map(({ headsOpen, unitsOpen }) => `${headsOpen}/${unitsOpen}`)).toEqual(widths);
    expect(run.settings!.targetSparsity).toBeCloseTo(run.hardSparsity, 5);
    const verified = await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: run.runId, replay: true })));
    expect(verified.at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    const again = await server.completed((await launched(RECIPE_FISHER, { ...run.settings! })).runId);
    expect(again.stateDigest).toBe(run.stateDigest);
    for (const refused of [
      { layerWidths: widths[0]! },
      { targetSparsity: 0.5 },
      { layerWidths: `${heads + heads}/1,${widths.slice(1).join(',')}` },
    ])
      expect(codeOf(await launched(RECIPE_FISHER, { ...asked, ...refused }).catch((error: unknown) => error))).toMatch(
        /^(FIELD_OUT_OF_RANGE|BUDGETS_CONFLICT)$/,
      );
  });

  it('refuse several steps, and forks that would learn their masks', async () => {
    const refused = await launched(RECIPE_WANDA, { totalSteps: 100 }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ message: expect.stringContaining('must be 1 with recipe wanda') as string });
    const { runId } = runs.get(RECIPE_WANDA)!;
    for (const settings of [
      { recipe: RECIPE_DISTILL, totalSteps: 50 },
      { targetSparsity: 0.4, recoverSteps: 5 },
    ])
      expect(codeOf(await fork(runId, settings).catch((error: unknown) => error))).toBe('FORK_FIELD_FIXED');
    expect((await fork(runId, { totalSteps: 50 }).catch((error: unknown) => error)) instanceof Error).toBe(true);
  });

  it('stand beside single weights of the same model, which are evaluated and change no headline', async () => {
    const { runId } = runs.get(RECIPE_WANDA)!;
    const evaluate = async (unstructured: Partial<v1.Unstructured>, more: Partial<v1.EvaluateRunRequest> = {}): Promise<v1.Evaluation> => {
      const request = v1.EvaluateRunRequest.fromPartial({ runId, unstructured, ...more });
      return (await collect(server.runs.evaluateRun(request))).at(-1)!.evaluation!;
    };
    const headline = (await server.run(runId)).evaluations.find(({ headline }) => headline)!;
    const wanda = await evaluate({ importance: 'wanda' });
    expect(wanda).toMatchObject({ subject: 'unstructured:wanda:0.3', headline: false, step: 0n, convention: headline.convention });
    expect(wanda.details['zeroShare']).toBeCloseTo(0.3, 1);
    const magnitude = await evaluate({ importance: 'magnitude', sparsity: 0 });
    const intact = (await server.run(runId)).evaluations.find(({ subject }) => subject === 'intact')!;
    expect(magnitude.perplexity).toBe(intact.perplexity); // no weight was set to 0
    expect((await evaluate({ importance: 'wanda' })).evaluatedAt).toEqual(wanda.evaluatedAt); // the same evaluation is recorded once
    expect((await server.run(runId)).evaluations.find((one) => one.headline)!.perplexity).toBe(headline.perplexity);
    const codes = [
      evaluate({ importance: 'taylor' }),
      evaluate({ importance: 'wanda', sparsity: 1 }),
      evaluate({ importance: 'wanda' }, { intact: true }),
    ].map((call) => call.catch((error: unknown) => error));
    expect((await Promise.all(codes)).map(codeOf)).toEqual(['FIELD_UNKNOWN_VALUE', 'FIELD_OUT_OF_RANGE', 'REQUEST_INVALID']);
    expect(recordProblems(await server.events(runId))).toEqual([]);
  });
});
