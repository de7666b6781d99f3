// Tests when an export counts as the masked student, by the loss that a loader computes from it.
import type { ArtifactStore } from '#artifact-store';
import { engineV1, EspalierError } from '#protocol';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { ExportProof } from '../pruning-run/record/pruning-run.events.js';
import { proveExport } from './export-proof.js';

const STUDENT = 1.75;

/** Proves an export for which the engine computes `fromExport`, or fails with it. */
function proof(dtype: string, fromExport: number | Error, student = STUDENT): Promise<ExportProof> {
  const evaluate = (request: engineV1.EvaluateRequest): Promise<engineV1.EvaluationOutcome> => {
    const found = request.sessionId === '' ? fromExport : student;
    if (found instanceof Error) return Promise.reject(found);
    return Promise.resolve(engineV1.EvaluationOutcome.fromPartial({ negativeLogLikelihood: found, predictions: 31n }));
  };
  const held = { bringModel: () => Promise.resolve(), bringState: () => Promise.resolve(), sessionId: 'student', threads: 1 };
  const bench = { ...held, engine: { client: { evaluate }, sharesFiles: true } } as unknown as EngineWorkbench;
  const tokens = { async *open() { yield await Promise.resolve(new Uint8Array(4 * 64)); } } as unknown as ArtifactStore; // prettier-ignore
  const run = {
    data: { validationDigest: 'ab'.repeat(32), trainDigest: 'cd'.repeat(32) },
    settings: { evaluationWindow: 32 },
  } as unknown as PruningRunState;
  const request = { run, state: {} as never, format: 'vllm' as const, dtype, contextLength: 64, files: [], dataFolder: '/data' };
  return proveExport(bench, tokens, request, new AbortController().signal);
}

test.each([
  ['f32', STUDENT + 5e-6],
  ['f16', STUDENT - 5e-4],
  ['bf16', STUDENT + 0.05], // within the rounding of the type
  ['q8_0', STUDENT - 0.05],
])('an export in %s that computes the same but for rounding is proven', async (dtype, found) => {
  const { negativeLogLikelihood, loaders } = await proof(dtype, found);
  expect(negativeLogLikelihood).toBe(STUDENT);
  expect(loaders[0]).toMatchObject({ outcome: 'agrees', negativeLogLikelihood: found });
});

test.each([
  ['f32', STUDENT + 5e-5],
  ['f32', Number.NaN],
  ['f16', STUDENT - 5e-3],
  ['bf16', STUDENT + 0.1],
  ['bf16', Number.NaN],
  ['q8_0', STUDENT + 4.1], // a perplexity of 60 times the student's
  ['q8_0', Number.POSITIVE_INFINITY],
])('an export in %s that computes something else (%d) is refused, with both figures', async (dtype, found) => {
  await expect(proof(dtype, found)).rejects.toMatchObject({
    code: 'EXPORT_DIFFERS',
    message: expect.stringMatching(
      new RegExp(`own reader computes .* of ${found} from the vllm export, the masked student ${STUDENT}`),
    ) as string,
  });
});

test('a loader that can not read the export is reported, and its failure refuses nothing', async () => {
  const { loaders } = await proof('f32', new Error('no such architecture'));
  expect(loaders[0]).toMatchObject({ outcome: 'failed', negativeLogLikelihood: null, message: 'no such architecture' });
});

test("our own reader is untried, not failed, where llama.cpp's types are not its own", async () => {
  const unsupported = new EspalierError('MODEL_UNSUPPORTED', "has ggml's type 12");
  expect((await proof('q4_k_m', unsupported)).loaders[0]).toMatchObject({ outcome: 'untried', message: 'it reads no q4_k_m' });
  expect((await proof('f32', unsupported)).loaders[0]).toMatchObject({ outcome: 'failed' });
  // llama.cpp's loader knows the types of all tensors
  expect((await proof('q4_k_m', STUDENT + 0.01)).loaders[0]).toMatchObject({ outcome: 'agrees' });
});

test('a bound is a share of the loss: at 48.3 nats the sums of f32 round by more than at 2', async () => {
  const { loaders } = await proof('f32', 48.3 + 5e-5, 48.3);
  expect(loaders[0]).toMatchObject({ outcome: 'agrees' });
  await expect(proof('f32', 48.3 + 5e-3, 48.3)).rejects.toMatchObject({ code: 'EXPORT_DIFFERS' });
  await expect(proof('f32', 0.01 + 5e-6, 0.01)).resolves.toBeDefined(); // for a loss near 0 the bound does not go to 0
  await expect(proof('f32', 0.01 + 5e-5, 0.01)).rejects.toMatchObject({ code: 'EXPORT_DIFFERS' });
});

test.each(['EVALUATION_NOT_FINITE', 'WEIGHT_NOT_FINITE'])(
  'our own reader that finds no numbers in the export (%s) refuses it',
  async (code) => {
    await expect(proof('bf16', new EspalierError(code, 'not finite'))).rejects.toMatchObject({
      code: 'EXPORT_DIFFERS',
      message: expect.stringContaining('of NaN from the vllm export') as string,
    });
  },
);
