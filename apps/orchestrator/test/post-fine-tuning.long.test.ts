// Tests post-fine-tuning with the real processes on the tiny model: a pruned run is forked onto instructions, and learns the answers in
// them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, TestServer, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
const folder = mkdtempSync(join(tmpdir(), 'post-fine-tuning-'));
const INSTRUCTIONS = join(folder, 'alpaca.json');
const TUNING = { recoverSteps: 20, recoverLearningRate: 0.01, recoverLoraDropout: 0.1, recoverLoraRank: 4 };
let pruned: v1.Run;

beforeAll(async () => {
  const rows = Array.from({ length: 40 }, (_, n) => ({
    instruction: `Say ${n}.`,
    input: n % 3 === 0 ? 'in words' : '',
    output: `It is ${n * n}.`,
  }));
  writeFileSync(INSTRUCTIONS, JSON.stringify(rows));
  await server.start();
  pruned = await server.completed((await server.launch({})).runId);
});
afterAll(async () => {
  await server.dispose();
  rmSync(folder, { recursive: true });
});

async function tune(settings: v1.RunSettings | object, responseOnly = true): Promise<string> {
  const data = { trainPath: INSTRUCTIONS, responseOnly };
  const { run } = await unary<v1.ForkRunResponse>((cb) =>
    server.runs.forkRun(
      v1.ForkRunRequest.fromPartial({
        parentRunId: pruned.runId,
        from: { $case: 'lastState', value: true },
        settings,
        data,
      }),
      cb,
    ),
  );
  return run!.runId;
}

test('a fork learns answers with dropout and a wider LoRA, and is computed again from the states on its way', async () => {
  const done = await server.completed(await tune(TUNING));
  expect(done).toMatchObject({ step: 140n, phase: 'recover', data: { trainPath: INSTRUCTIONS, responseOnly: true } });
  expect(recordProblems(await server.events(done.runId))).toEqual([]);

  for (const fromStep of [120n, 131n]) {
    const replay = v1.VerifyRunRequest.fromPartial({ runId: done.runId, replay: true, fromStep, toStep: 140n });
    expect((await collect(server.history.verifyRun(replay))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
  }

  const exported = await collect(server.runs.exportRun(v1.ExportRunRequest.fromPartial({ runId: done.runId, skipProof: true })));
  expect(exported.at(-1)!.export).toMatchObject({ step: 140n, stateDigest: done.stateDigest });

  const narrow = await server.completed(await tune({ ...TUNING, recoverLoraRank: 0 }));
  const all = await server.completed(await tune(TUNING, false));
  const certain = await server.completed(await tune({ ...TUNING, recoverLoraDropout: 0 }));
  expect(new Set([done, narrow, all, certain].map(({ stateDigest }) => stateDigest)).size).toBe(4);

  // A fork of this run keeps its rank.
  const { run } = await unary<v1.ForkRunResponse>((cb) =>
    server.runs.forkRun(
      v1.ForkRunRequest.fromPartial({ parentRunId: done.runId, from: { $case: 'lastState', value: true }, settings: { recoverSteps: 30 } }),
      cb,
    ),
  );
  const longer = await server.completed(run!.runId);
  expect(longer).toMatchObject({ step: 150n, phase: 'recover' });
});

test('a rank that no state can have is refused by name', async () => {
  await expect(tune({ ...TUNING, recoverLoraRank: 1023 })).rejects.toThrow(/recover_lora_rank/);
});

test('responses can be told from the rest by cross-entropy only, and only where there are some', async () => {
  const taught = { ...TUNING, recoverLmLossWeight: 0, recoverKlLossWeight: 0.1 };
  await expect(tune(taught)).rejects.toThrow(/data\.response_only.*no step learns by cross-entropy|no step learns by cross-entropy/);
  const plain = join(folder, 'plain.jsonl');
  writeFileSync(plain, '{"text": "no answer here"}\n');
  const launched = server.launch(TUNING, { data: { trainPath: plain, responseOnly: true } });
  await expect(launched).rejects.toMatchObject({ code: 'DATA_MALFORMED', field: 'data.train_path' });
});
