// Tests recovery that begins with a refit in closed form, with the real processes on the tiny model.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { expectExportsOfItsPerplexity, Forks } from './harness/recovery.js';
import { collect, TestServer } from './harness/server.js';

// A refit is kept where it lowers the loss. It always lowers the loss of the layers, so the run learns by that one.
const TAUGHT = { recoverLmLossWeight: 0, recoverLayerLossWeight: 1 };
const RECOVERING = { recoverSteps: 60, recoverLearningRate: 0.01, recoverLoraRank: 4, recoverRefitBatches: 4, ...TAUGHT };
const FIRST = 120n; // the first step of recovery

const server = TestServer.inNewFolder();
let parent: v1.Run;
let done: v1.Run;

const { fork, forked } = new Forks(server);

beforeAll(async () => {
  await server.start();
  parent = await server.completed((await server.launch({})).runId);
  done = await server.completed((await server.launch(RECOVERING)).runId);
});
afterAll(() => server.dispose());

test('a run with a refit is the same as a fork into it, also after a kill, and without it another', async () => {
  expect(done).toMatchObject({ step: FIRST + 60n, phase: 'recover' });
  expect(recordProblems(await server.events(done.runId))).toEqual([]);
  expect((await forked(parent, RECOVERING)).stateDigest).toBe(done.stateDigest);
  expect((await forked(parent, { ...RECOVERING, recoverRefitBatches: 0 })).stateDigest).not.toBe(done.stateDigest);
  expect((await forked(parent, { ...RECOVERING, recoverRefitBatches: 3 })).stateDigest).not.toBe(done.stateDigest);

  const again = await server.disturbed({
    launch: () => server.launch(RECOVERING),
    when: ({ step }) => step >= FIRST,
    by: () => server.killAll(),
  });
  expect([again.stateDigest, again.restarts > 0]).toEqual([done.stateDigest, true]);
});

test('it is computed again from its record, and a fork of it goes on from what it found', async () => {
  const { runId } = done;
  const verified = await collect(
    server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId, replay: true, fromStep: 100n, toStep: FIRST + 20n })),
  );
  expect(verified.at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
  expect(await forked(done, { recoverSteps: 70 })).toMatchObject({ step: FIRST + 70n, phase: 'recover' });
});

test('its exports have the perplexity of the run', () => expectExportsOfItsPerplexity(server, done));

test('a refit without recovery, or without LoRA where its result would lie, is refused by name', async () => {
  for (const settings of [
    { recoverRefitBatches: 4 },
    { ...RECOVERING, loraTargets: ['q_proj', 'o_proj'] },
    { ...RECOVERING, recoverRefitBatches: 100_001 },
  ])
    await expect(server.launch(settings)).rejects.toThrow(/recover_refit_batches/);
  await expect(fork(parent, { recoverRefitBatches: 4 })).rejects.toThrow(/recover_refit_batches/);
});
