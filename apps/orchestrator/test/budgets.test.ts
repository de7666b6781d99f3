// Runs to a budget, with the real processes on a small model with grouped queries and tied embeddings.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, TestServer } from './harness/server.js';

/** Numbers in the tensors of a safetensors file, by its header alone. */
function numbersIn(bytes: Buffer): number {
  const length = Number(bytes.readBigUInt64LE(0));
  const tensors = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { shape?: number[] }>;
  return Object.values(tensors).reduce((sum, { shape }) => sum + (shape?.reduce((left, right) => left * right, 1) ?? 0), 0);
}

describe('a run to a budget', () => {
  const server = TestServer.inNewFolder();
  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  const bytesOf = async (digest: string): Promise<Buffer> =>
    Buffer.concat((await collect(server.artifacts.downloadArtifact({ digest, offset: 0n }))).map(({ chunk }) => chunk));

  it('of parameters exports that many, and is computed again to the same bits', async () => {
    const asked = 150_000;
    const run = await server.completed((await server.launch({ targetSparsity: undefined, targetParams: asked, totalSteps: 40 })).runId);
    expect(run.settings!.targetSparsity).toBeCloseTo(1 - asked / Number(run.parameterCount), 12);
    expect(run.targetMissed).toBe(false);
    expect(Math.abs(run.budget!.predicted! / asked - 1)).toBeLessThan(0.01);

    const predicted = Math.round(run.budget!.predicted!);
    const export_ = v1.ExportRunRequest.fromPartial({ runId: run.runId, format: 'hf-remote', skipProof: true });
    const made = (await collect(server.runs.exportRun(export_))).at(-1)!.export!;
    const { files } = JSON.parse((await bytesOf(made.digest)).toString()) as { files: { name: string; digest: string }[] };
    const weights = files.find(({ name }) => name === 'model.safetensors')!;
    expect(numbersIn(await bytesOf(weights.digest))).toBe(predicted);
    expect((await server.run(run.runId)).budget!.measured).toBe(predicted);

    const replayed = v1.VerifyRunRequest.fromPartial({ runId: run.runId, replay: true, fromStep: 0n, toStep: 10n });
    expect((await collect(server.history.verifyRun(replayed))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    expect(recordProblems(await server.events(run.runId))).toEqual([]);
  });
});
