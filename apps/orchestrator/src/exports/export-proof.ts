// Proves that an export is the masked student: compares the mean negative log-likelihood that each loader at hand computes with the
// student's in F32.
import type { ArtifactStore, ExportManifestFile } from '#artifact-store';
import { architectureFacts } from '#comparison';
import { idOf } from '#model-files';
import { engineV1, EspalierError, toEspalierError, visibleText } from '#protocol';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { ExportProof, LoaderProof, StateFact } from '../pruning-run/record/pruning-run.events.js';
import { withArtifactFiles } from '../measurements/artifact-files.js';
import { formulaTokens, tokenBytes } from '../measurements/formula-tokens.js';
import type { ModelAlone } from '../measurements/subjects.js';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import type { ExportFormat } from './export-formats.js';
import { isQuantizedType } from './quantizer.js';
import { evaluateWithLlamaCpp, evaluateWithPyTorch, type LoaderAnswer, type LoaderRequest } from './export-loaders.js';
import { tokenShards } from '../pruning-run/record/training-tokens.js';

const OWN_READER = "Espalier's own reader";
const TOKENS = 1024;
const WINDOW_MAX = 256;
/**
 * The largest differences for which an export counts as the student, by type. They are shares of the student's loss, because rounding
 * changes large logits more than small ones; a loss below 1 nat counts as 1. F32 and F16 differ by the rounding of sums. BF16 and Q8_0 keep
 * 8 bits of a weight and usually differ by some thousandths, so their bound only finds broken exports.
 */
const BOUNDS: Record<string, number> = { f32: 1e-5, f16: 1e-3, bf16: 0.05, q8_0: 0.05 };
/** llama.cpp's own types keep 3 to 6 bits of a weight, which shows in a small model. */
const QUANTIZED_BOUND = 0.25;

/** The engine's errors where a model computes no numbers. */
const NOT_FINITE = new Set(['EVALUATION_NOT_FINITE', 'WEIGHT_NOT_FINITE']);

type Loader = (request: LoaderRequest, signal: AbortSignal) => Promise<LoaderAnswer>;
const untried =
  (loader: string, message = 'Espalier does not run it'): Loader =>
  () =>
    Promise.resolve({ outcome: 'untried', loader, message });
/** The loaders of each format beside the engine's own reader. */
const loadersOf: Record<ExportFormat, Loader[]> = {
  masked: [evaluateWithPyTorch, untried('transformers')],
  hf: [evaluateWithPyTorch, untried('transformers')],
  'hf-remote': [evaluateWithPyTorch, untried('transformers')],
  vllm: [untried('vLLM')],
  gguf: [evaluateWithLlamaCpp],
};

export type ProofRequest = ({ run: PruningRunState; state: StateFact } | { run: ModelAlone; state: null }) & {
  format: ExportFormat;
  /** The type as it is stored. */
  dtype: string;
  contextLength: number;
  files: ExportManifestFile[];
  /** The folder of the server's secrets. */
  dataFolder: string;
};

/**
 * Proves the export.
 * @throws EspalierError EXPORT_DIFFERS
 */
export async function proveExport(
  bench: EngineWorkbench,
  artifacts: ArtifactStore,
  request: ProofRequest,
  signal: AbortSignal,
): Promise<ExportProof> {
  const { run, format, contextLength, dataFolder } = request;
  const modelBytes = request.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const { tokens, dataDigest, longest } = await proofTokens(artifacts, request);
  const window = Math.min(longest, WINDOW_MAX, contextLength, tokens.length);
  const ids = tokens.subarray(0, window * Math.max(1, Math.floor(TOKENS / window)));
  const evaluate: Evaluate = (sessionId, modelPath) =>
    bench.engine.client.evaluate(
      {
        sessionId,
        modelPath,
        intact: false,
        window,
        computeDtype: engineV1.ComputeDtype.COMPUTE_DTYPE_F32,
      },
      bytesOf(ids),
      () => undefined,
      signal,
    );
  const student = await evaluateOriginal(bench, request, evaluate);
  const readByEngine: Loader = ({ folder }) =>
    evaluate('', folder).then(
      ({ negativeLogLikelihood }): LoaderAnswer => ({ outcome: 'computed', loader: OWN_READER, negativeLogLikelihood }),
      (error: unknown) => readersAnswer(request.dtype, toEspalierError(error)),
    );
  const own = bench.engine.sharesFiles ? readByEngine : untried(OWN_READER, 'the engine is on another machine');
  const loaders: LoaderProof[] = [];
  await withArtifactFiles(artifacts, request.files, async (folder) => {
    for (const loader of [own, ...loadersOf[format]]) {
      const answer = await loader({ folder, modelBytes, hidden: dataFolder, window, ids: [...ids], threads: bench.threads }, signal);
      signal.throwIfAborted();
      const inF16 = loader === evaluateWithLlamaCpp && architectureFacts(run.model.architecture).geluInF16 === true;
      const bound = Math.max(boundOf(request.dtype), inF16 ? BOUNDS['f16']! : 0);
      loaders.push(checked(request, student.negativeLogLikelihood, bound, answer));
    }
  });
  return {
    negativeLogLikelihood: student.negativeLogLikelihood,
    predictions: Number(student.predictions),
    window,
    dataDigest,
    loaders,
  };
}

/** The tokens that are compared: the first ones of the run's own text, or of a model without a run ids that a formula gives. */
async function proofTokens(
  artifacts: ArtifactStore,
  { run, state }: ProofRequest,
): Promise<{ tokens: Uint32Array; dataDigest: string; longest: number }> {
  if (state !== null) {
    const dataDigest = run.data.validationDigest ?? tokenShards(run.data)[0]!.digest;
    return { tokens: await firstTokens(artifacts, dataDigest), dataDigest, longest: run.settings.evaluationWindow };
  }
  const tokens = formulaTokens(TOKENS, run.model.vocabularySize);
  return { tokens, dataDigest: sha256Hex(tokenBytes(tokens)), longest: run.model.maxPositions };
}

type Evaluate = (sessionId: string, modelPath: string) => Promise<engineV1.EvaluationOutcome>;

async function evaluateOriginal(
  bench: EngineWorkbench,
  { run, state }: ProofRequest,
  evaluate: Evaluate,
): Promise<engineV1.EvaluationOutcome> {
  if (state === null) return evaluate('', run.model.path);
  await bench.bringModel(run);
  await bench.bringState(run, state);
  return evaluate(bench.sessionId, '');
}

function readersAnswer(dtype: string, { code, message }: EspalierError): LoaderAnswer {
  if (NOT_FINITE.has(code)) return { outcome: 'computed', loader: OWN_READER, negativeLogLikelihood: NaN };
  if (isQuantizedType(dtype) && code === 'MODEL_UNSUPPORTED')
    return { outcome: 'untried', loader: OWN_READER, message: `it reads no ${dtype}` };
  return { outcome: 'failed', loader: OWN_READER, message };
}

/** @throws EspalierError EXPORT_DIFFERS */
function checked(request: ProofRequest, expected: number, share: number, answer: LoaderAnswer): LoaderProof {
  if (answer.outcome !== 'computed') return { ...answer, negativeLogLikelihood: null };
  const { format, dtype } = request;
  const { loader, negativeLogLikelihood, inReach = '' } = answer;
  const difference = Math.abs(negativeLogLikelihood - expected);
  const bound = share * Math.max(1, expected);
  if (!(difference <= bound)) {
    throw new EspalierError(
      'EXPORT_DIFFERS',
      `${loader} computes a mean negative log-likelihood of ${negativeLogLikelihood} from the ${format} export, ${originalOf(request)} ` +
        `${expected}: they differ by ${difference}, more than the ${Number(bound.toPrecision(3))} that ${dtype} may round at this loss`,
    );
  }
  const message = inReach === '' ? '' : `this machine allows no full confinement, so it could reach ${inReach}`;
  return { loader, outcome: 'agrees', negativeLogLikelihood, message };
}

const originalOf = ({ state }: Pick<ProofRequest, 'state'>): string => (state === null ? 'the model' : 'the masked student');

function boundOf(dtype: string): number {
  const bound = BOUNDS[dtype] ?? (isQuantizedType(dtype) ? QUANTIZED_BOUND : undefined);
  if (bound === undefined) throw new Error(`no bound is known for exports in ${dtype}`);
  return bound;
}

async function firstTokens(artifacts: ArtifactStore, digest: string): Promise<Uint32Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of artifacts.open(digest)) {
    chunks.push(chunk);
    size += chunk.byteLength;
    if (size >= TOKENS * 4) break;
  }
  const bytes = Buffer.concat(chunks);
  const count = Math.min(TOKENS, Math.floor(bytes.byteLength / 4));
  return Uint32Array.from({ length: count }, (_, at) => idOf(bytes.readUInt32LE(at * 4)));
}

async function* bytesOf(ids: Uint32Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(tokenBytes(ids));
}

/** The lines about the proof in the export's README. */
export function proofText({ negativeLogLikelihood, predictions, loaders }: ExportProof, request: Pick<ProofRequest, 'state'>): string {
  const tokens = request.state === null ? 'of fixed tokens' : 'on text of the run';
  const rows = loaders.map((one) => {
    const difference =
      one.negativeLogLikelihood === null ? one.outcome : (one.negativeLogLikelihood - negativeLogLikelihood).toExponential(1);
    return `| ${one.loader} | ${difference}${one.message === '' ? '' : ` (${visibleText(one.message).replaceAll('|', '/')})`} |`;
  });
  return [
    '',
    '## Proof',
    '',
    `${request.state === null ? 'The model' : 'The masked student'}, computed in F32, has a mean negative log-likelihood of ` +
      `${negativeLogLikelihood.toFixed(4)} nats over`,
    `${predictions} predictions ${tokens}. What loaders compute from this export differs from that by:`,
    '',
    '| loader | difference |',
    '|---|---|',
    ...rows,
    '',
  ].join('\n');
}
