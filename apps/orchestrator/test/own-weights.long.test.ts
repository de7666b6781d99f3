// Tests recovery of the pruned model's own weights, with the real processes on the tiny model.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { expectExportsOfItsPerplexity, Forks } from './harness/recovery.js';
import { collect, TestServer, TINY_MODEL, unary } from './harness/server.js';

const RECOVERING = {
  recoverSteps: 60,
  recoverWeights: v1.RecoverWeights.RECOVER_WEIGHTS_ALL,
  recoverLearningRate: 0.001,
  recoverLmLossWeight: 0,
  recoverKlLossWeight: 1,
};
const FIRST = 120n; // the first step of recovery

const server = TestServer.inNewFolder();
let parent: v1.Run;
let done: v1.Run;

const { fork, forked } = new Forks(server);
const perplexityOf = ({ evaluations }: v1.Run): number => evaluations.find((one) => one.subject === 'masked')!.perplexity;

beforeAll(async () => {
  await server.start();
  parent = await server.completed((await server.launch({})).runId);
  done = await server.completed((await server.launch(RECOVERING)).runId);
});
afterAll(() => server.dispose());

test('a run that recovers all weights is the same as a fork into it, also after a kill', async () => {
  expect(done).toMatchObject({ step: FIRST + 60n, phase: 'recover' });
  expect(perplexityOf(done)).toBeLessThan(perplexityOf(parent));
  expect(recordProblems(await server.events(done.runId))).toEqual([]);
  expect((await forked(parent, RECOVERING)).stateDigest).toBe(done.stateDigest);

  for (const step of [FIRST - 2n, FIRST + 20n]) {
    const again = await server.disturbed({
      launch: () => server.launch(RECOVERING),
      when: (run) => run.step >= step,
      by: () => server.killAll(),
    });
    expect([again.stateDigest, again.restarts > 0]).toEqual([done.stateDigest, true]);
  }
});

test('it is computed again from its record, and a fork of it goes on', async () => {
  const { runId } = done;
  const verified = await collect(
    server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId, replay: true, fromStep: 100n, toStep: FIRST + 40n })),
  );
  expect(verified.at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
  expect(await forked(done, { recoverSteps: 70 })).toMatchObject({ step: FIRST + 70n, phase: 'recover' });
});

test('its exports have the perplexity of the run', () => expectExportsOfItsPerplexity(server, done));

test('a run that recovers the weights of the layers alone is computed again, and its exports have its perplexity', async () => {
  const layers = await forked(parent, { ...RECOVERING, recoverWeights: v1.RecoverWeights.RECOVER_WEIGHTS_LAYERS });
  expect(perplexityOf(layers)).toBeLessThan(perplexityOf(parent));
  expect(layers.stateDigest).not.toBe(done.stateDigest);
  const verified = await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: layers.runId, replay: true })));
  expect(verified.at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
  await expectExportsOfItsPerplexity(server, layers);
});

test('a recovery that begins with a refit of own weights ends in the same bits after a kill and in a replay', async () => {
  const refitted = await forked(parent, { ...RECOVERING, recoverRefitBatches: 4 });
  expect(refitted.stateDigest).not.toBe(done.stateDigest);
  const verified = await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: refitted.runId, replay: true })));
  expect(verified.at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
  const again = await server.disturbed({
    launch: () => server.launch({ ...RECOVERING, recoverRefitBatches: 4 }),
    when: (run) => run.step >= FIRST,
    by: () => server.killAll(),
  });
  expect([again.stateDigest, again.restarts > 0]).toEqual([refitted.stateDigest, true]);
});

test('what would train LoRA or masks after own weights is refused by name', async () => {
  for (const [field, settings] of [
    ['recover_weights', { recoverSteps: 0 }],
    ['recover_lora_rank', { recoverLoraRank: 4 }],
    ['recover_lora_dropout', { recoverLoraDropout: 0.1 }],
  ] as const)
    await expect(server.launch({ ...RECOVERING, ...settings })).rejects.toThrow(new RegExp(field));
  await expect(fork(done, { recoverWeights: v1.RecoverWeights.RECOVER_WEIGHTS_LORA, recoverSteps: 80 })).rejects.toThrow(/recover_weights/);
  await expect(fork(done, { totalSteps: 300 })).rejects.toThrow(/total_steps/);
});

test('the plan counts own weights, their moments and their states', async () => {
  const plan = (settings: object): Promise<v1.PlanRunResponse> =>
    unary<v1.PlanRunResponse>((cb) => server.runs.planRun(v1.PlanRunRequest.fromPartial({ modelPath: TINY_MODEL, settings }), cb));
  const lora = await plan({ preset: 'short', recoverSteps: 60, loraRank: 4 });
  const own = await plan({ preset: 'short', ...RECOVERING, loraRank: 4 });
  expect(own.disk!.totalBytes).toBeGreaterThan(lora.disk!.totalBytes);
  expect(own.memory!.totalBytes).toBeGreaterThan(lora.memory!.totalBytes);
  const layers = await plan({ preset: 'short', ...RECOVERING, recoverWeights: v1.RecoverWeights.RECOVER_WEIGHTS_LAYERS, loraRank: 4 });
  expect(own.memory!.totalBytes).toBeGreaterThan(layers.memory!.totalBytes);
  expect(own.disk!.totalBytes).toBeGreaterThan(layers.disk!.totalBytes);
});
