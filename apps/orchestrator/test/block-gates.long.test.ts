// Tests runs with gates for key/value groups and layers, with the real processes on the tiny model (grouped queries).
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, FACTBOOK_MODEL, TestServer, TINY_MODEL, unary } from './harness/server.js';

const GATES = ['head', 'unit', 'hidden', 'kv-group', 'attention', 'mlp'];
const PRUNED = { targetSparsity: 0.5, gates: GATES };

const server = TestServer.inNewFolder();
beforeAll(() => server.start());
afterAll(() => server.dispose());

const fork = (parentRunId: string, settings: Partial<v1.RunSettings>): Promise<v1.ForkRunResponse> =>
  unary<v1.ForkRunResponse>((cb) =>
    server.runs.forkRun(v1.ForkRunRequest.fromPartial({ parentRunId, from: { $case: 'lastState', value: true }, settings }), cb),
  );
const exported = async (runId: string, format: string, skipProof = false): Promise<v1.ModelExport> =>
  (await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId, format, dtype: 'f32', skipProof })))).at(-1)!.export!;

describe('a run with gates of groups and layers', () => {
  let done: v1.Run;
  beforeAll(async () => {
    done = await server.completed((await server.launch(PRUNED)).runId);
  });

  it('reaches its target, and ends in the same bits after a kill', async () => {
    expect(done.settings!.gates).toEqual(GATES);
    expect(done.targetMissed).toBe(false);
    expect(recordProblems(await server.events(done.runId))).toEqual([]);
    const again = await server.disturbed({
      launch: () => server.launch(PRUNED),
      when: (run) => run.step >= 60n,
      by: () => server.killAll(),
    });
    expect([again.stateDigest, again.restarts > 0]).toEqual([done.stateDigest, true]);
  });

  it('tells the key/value heads that are left, which its exports have', async () => {
    const { layers } = await exported(done.runId, 'hf-remote', true);
    const left = done.layers.filter(({ headsOpen, unitsOpen }) => headsOpen > 0 || unitsOpen > 0);
    expect(done.layers.map(({ kvHeads }) => kvHeads)).toEqual([2, 2, 2]);
    // hf-remote keeps the number of layers. A format with layers that are all alike leaves out an empty one.
    const kept = layers.length === left.length ? left : done.layers;
    expect(layers.map(({ kvHeads, heads, units }) => [kvHeads, heads, units].map(Number))).toEqual(
      kept.map(({ kvHeadsOpen, headsOpen, unitsOpen }) => [kvHeadsOpen!, headsOpen, unitsOpen]),
    );
  });

  it('is computed again from its record, and a fork of it recovers under the same masks', async () => {
    const replayed = v1.VerifyRunRequest.fromPartial({ runId: done.runId, replay: true, fromStep: 0n, toStep: 20n });
    expect((await collect(server.history.verifyRun(replayed))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    await expect(fork(done.runId, { gates: ['head', 'unit', 'hidden'] })).rejects.toMatchObject({ code: 'FORK_FIELD_FIXED' });
    const recovered = await server.completed((await fork(done.runId, { recoverSteps: 20 })).run!.runId);
    expect(recovered.layers).toEqual(done.layers);
  });

  it('has exports with its perplexity', async () => {
    const masked = done.evaluations.find((one) => one.subject === 'masked')!;
    for (const format of ['hf', 'vllm', 'gguf']) {
      const { digest, proof } = await exported(done.runId, format);
      expect(proof!.loaders.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
      const request = v1.EvaluateRunRequest.fromPartial({ runId: done.runId, exportDigest: digest });
      const evaluated = (await collect(server.runs.evaluateRun(request))).at(-1)!.evaluation!;
      expect(evaluated.negativeLogLikelihood).toBeCloseTo(masked.negativeLogLikelihood, 4);
    }
  });
});

it('with uniform layers gives a plain config: equal groups of equal heads, and layers that go as a whole', async () => {
  const run = await server.completed((await server.launch({ ...PRUNED, shapeTarget: v1.ShapeTarget.SHAPE_TARGET_UNIFORM })).runId);
  const kept = run.layers.filter(({ headsOpen }) => headsOpen > 0);
  expect(run.layers.filter(({ unitsOpen }) => unitsOpen > 0)).toEqual(kept);
  const { layers, hiddenSize, notes } = await exported(run.runId, 'hf');
  expect(Number(hiddenSize)).toBe(run.hiddenOpen);
  expect(layers.map(({ heads, kvHeads, units }) => [heads, kvHeads, units].map(Number))).toEqual(
    kept.map(({ headsOpen, kvHeadsOpen, unitsOpen }) => [headsOpen, kvHeadsOpen!, unitsOpen]),
  );
  expect(notes.join()).not.toContain('differ in width');
});

it('can be pruned at once: blocks of layers that change little, then groups, heads and units', async () => {
  const settings = {
    totalSteps: undefined,
    segmentSteps: undefined,
    calibrationSequences: 4,
    recipe: v1.Recipe.RECIPE_WANDA,
    gates: GATES,
  };
  const run = await server.completed((await server.launch({ ...settings, targetSparsity: 0.5 })).runId);
  expect(run.layers.filter(({ headsOpen, unitsOpen }) => headsOpen + unitsOpen === 0)).toHaveLength(1);
  expect(run.hardSparsity).toBeGreaterThan(0.5 - 1e-5);
  expect(run.hardSparsity).toBeLessThan(0.52);
});

describe('sets of gates without a meaning are refused by name', () => {
  const violation = (settings: Partial<v1.RunSettings>, modelPath = TINY_MODEL): Promise<unknown> =>
    unary<v1.PlanRunResponse>((cb) => server.runs.planRun(v1.PlanRunRequest.fromPartial({ modelPath, settings }), cb));

  it.each<[string, Partial<v1.RunSettings>, string, string]>([
    [
      'groups where each head has keys of its own',
      { gates: ['head', 'unit', 'hidden', 'kv-group'] },
      FACTBOOK_MODEL,
      'has a key/value head of its own',
    ],
    ['a set without heads', { gates: ['unit', 'hidden', 'mlp'] }, TINY_MODEL, 'lacks head'],
    ['an unknown kind', { gates: ['head', 'unit', 'hidden', 'layer'] }, TINY_MODEL, '"layer" is not'],
    ['whole attention, twice', { gates: GATES, shapeTarget: v1.ShapeTarget.SHAPE_TARGET_VLLM }, TINY_MODEL, 'as a whole already'],
    [
      'uniform layers without one of their blocks',
      { gates: ['head', 'unit', 'hidden', 'mlp'], shapeTarget: v1.ShapeTarget.SHAPE_TARGET_UNIFORM },
      TINY_MODEL,
      'a layer goes with both or stays',
    ],
  ])('%s', async (_, settings, modelPath, words) => {
    await expect(violation(settings, modelPath)).rejects.toThrow(words);
  });
});
