// Measures how fast the intact model and its pruned model generate. The engine measures them in turns.
import { decodeExportManifest, type ArtifactStore } from '#artifact-store';
import { engineV1, EspalierError, invalidRequest, type FieldViolation, type v1 } from '#protocol';
import type { RecordSpeed } from '../pruning-run/aggregate/pruning-run.decisions.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { ModelSpeedFact } from '../models/model.events.js';
import type { ModelIdentity } from '../pruning-run/record/pruning-run.events.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { chooseExport } from '../exports/export-formats.js';
import { withArtifactFiles } from '../measurements/artifact-files.js';
import { recordedSubject, type Subject } from '../measurements/subjects.js';
import { DTYPES, dtypeViolation } from '../measurements/text-requests.js';

const MOST_SEQUENCES = 16;
const MOST_ROUNDS = 1_000;

type SpeedOptions = Omit<engineV1.MeasureSpeedRequest, 'sessionId' | 'modelPath'>;

export function speedOptions(
  request: v1.BenchRunRequest,
  { maxPositions: positions, architecture }: Pick<ModelIdentity, 'maxPositions' | 'architecture'>,
): SpeedOptions {
  const given = { promptTokens: request.promptTokens || 128, tokens: request.tokens || 32 };
  // A small model has fewer positions than the default measurement needs.
  const tokens = request.tokens === 0 ? Math.min(given.tokens, Math.max(1, Math.floor(positions / 4))) : given.tokens;
  const promptTokens = request.promptTokens === 0 ? Math.min(given.promptTokens, Math.max(1, positions - tokens)) : given.promptTokens;
  const sequences = request.sequences || 1;
  const { rounds } = request;
  const violations: FieldViolation[] = [];
  const atMost = (value: number, most: number, field: string, what: string): void => {
    if (value > most) violations.push({ field, description: `must be at most ${what}, is ${value}`, code: 'FIELD_OUT_OF_RANGE' });
  };
  const most = positions - tokens;
  atMost(tokens, positions - 1, 'tokens', `${positions - 1}: the model has ${positions} positions`);
  if (violations.length === 0)
    atMost(promptTokens, most, 'prompt_tokens', `${most}: the model has ${positions} positions, and ${tokens} tokens follow`);
  atMost(sequences, MOST_SEQUENCES, 'sequences', String(MOST_SEQUENCES));
  atMost(rounds, MOST_ROUNDS, 'rounds', String(MOST_ROUNDS));
  const computeDtype = request.computeDtype === '' ? engineV1.ComputeDtype.COMPUTE_DTYPE_UNSPECIFIED : DTYPES[request.computeDtype];
  if (computeDtype === undefined) violations.push(dtypeViolation(request.computeDtype));
  if (computeDtype === undefined || violations.length > 0) throw invalidRequest(violations);
  const { engine, dtype, multipleOf } = chooseExport({ format: request.format, form: '', dtype: '', multipleOf: 0 }, architecture);
  return { promptTokens, tokens, sequences, rounds, computeDtype, ...engine, dtype, multipleOf };
}

/** Measures the speed of the intact model and of the subject, in turns. */
export async function measureSpeed(
  bench: EngineWorkbench,
  artifacts: Pick<ArtifactStore, 'open' | 'get' | 'pathOf'>,
  run: PruningRunState,
  subject: Exclude<Subject, { kind: 'intact' }>,
  options: SpeedOptions,
  onProgress: (doneShare: number) => void,
  signal: AbortSignal,
): Promise<engineV1.SpeedOutcome> {
  await bench.bringModel(run);
  const measure = (modelPath: string): Promise<engineV1.SpeedOutcome> =>
    measured(bench, { ...options, sessionId: bench.sessionId, modelPath }, onProgress, signal);
  if (subject.kind === 'export') {
    const files = decodeExportManifest(await artifacts.get(subject.exportDigest));
    return withArtifactFiles(artifacts, files, measure);
  }
  await bench.bringState(run, subject.state);
  return measure('');
}

/** Measures the speed of a model without a run, beside no other. */
export function measureModelSpeed(
  bench: EngineWorkbench,
  modelPath: string,
  options: SpeedOptions,
  onProgress: (doneShare: number) => void,
  signal: AbortSignal,
): Promise<engineV1.SpeedOutcome> {
  return measured(bench, { ...options, sessionId: '', modelPath }, onProgress, signal);
}

async function measured(
  bench: EngineWorkbench,
  request: engineV1.MeasureSpeedRequest,
  onProgress: (doneShare: number) => void,
  signal: AbortSignal,
): Promise<engineV1.SpeedOutcome> {
  let outcome: engineV1.SpeedOutcome | undefined;
  for await (const message of bench.engine.client.measureSpeed(request, signal)) {
    onProgress(message.doneShare);
    outcome = message.outcome ?? outcome;
  }
  if (outcome === undefined) throw new EspalierError('ENGINE_FAILED', 'the engine sent no MeasureSpeedResponse.outcome');
  return outcome;
}

/** How the record names the device and the measurement. */
const measuredOn = (
  { rounds, computeDtype }: engineV1.SpeedOutcome,
  { sequences, promptTokens, tokens }: SpeedOptions,
  { engine: { about }, threads }: Pick<EngineWorkbench, 'engine' | 'threads'>,
): Omit<ModelSpeedFact, 'prefillSeconds' | 'passSeconds'> => ({
  ...{ backend: about.backend, device: about.device, threads: threads || about.threads, computeDtype },
  ...{ batch: sequences, promptTokens, tokens, rounds },
});

/** The measurement of a model without a run as it is recorded. @throws EspalierError ENGINE_FAILED where the engine sent none */
export function modelSpeedFact(
  outcome: engineV1.SpeedOutcome,
  options: SpeedOptions,
  bench: Pick<EngineWorkbench, 'engine' | 'threads'>,
): ModelSpeedFact {
  const { prefillSeconds, passSeconds } = outcome.dense ?? { prefillSeconds: NaN, passSeconds: NaN };
  if (!(prefillSeconds > 0 && passSeconds > 0)) throw new EspalierError('ENGINE_FAILED', 'the engine sent no times');
  return { ...measuredOn(outcome, options, bench), prefillSeconds, passSeconds };
}

/** The measurement as the run records it. @throws EspalierError ENGINE_FAILED where the engine sent no ratios */
export function speedFact(
  outcome: engineV1.SpeedOutcome,
  subject: Exclude<Subject, { kind: 'intact' }>,
  options: SpeedOptions,
  bench: Pick<EngineWorkbench, 'engine' | 'threads'>,
): RecordSpeed {
  const [prefill, decode] = [speedUp(outcome.compact?.prefillRatio), speedUp(outcome.compact?.passRatio)];
  const isRatio = (ratio: v1.SpeedUp | undefined): ratio is v1.SpeedUp =>
    ratio !== undefined && Object.values(ratio).every((times) => Number.isFinite(times) && times > 0);
  if (!isRatio(prefill) || !isRatio(decode)) throw new EspalierError('ENGINE_FAILED', 'the engine sent no ratios of times');
  const { stateDigest } = subject.kind === 'export' ? subject : subject.state;
  return { kind: 'recordSpeed', ...recordedSubject(subject), stateDigest, ...measuredOn(outcome, options, bench), prefill, decode };
}

/**
 * The outcome in the words of the public protocol. A machine's speed drifts while both models are measured in turns, so only their ratios
 * are known: the times of the pruned model are those of the intact one, times the ratios.
 * @param format the format of the export whose sizes are given, or '' where an export was measured
 */
export function speedMessage({ dense, compact, ...rest }: engineV1.SpeedOutcome, format: string): v1.SpeedOutcome {
  const intact = dense && modelSpeed(dense);
  const pruned = compact && modelSpeed(compact);
  if (intact && pruned) {
    pruned.prefillSeconds = intact.prefillSeconds * pruned.prefillRatio;
    pruned.passSeconds = intact.passSeconds * pruned.passRatio;
  }
  return { ...rest, dense: intact, compact: pruned, format };
}

function modelSpeed({ size, prefillRatio, passRatio, ...times }: engineV1.ModelSpeed): v1.ModelSpeed {
  return {
    ...times,
    prefillRatio: prefillRatio?.median ?? 0,
    passRatio: passRatio?.median ?? 0,
    parameterCount: size?.parameterCount ?? 0n,
    multiplications: size?.multiplications ?? 0n,
    bytes: size?.bytes ?? 0n,
    prefillSpeedUp: speedUp(prefillRatio),
    decodeSpeedUp: speedUp(passRatio),
  };
}

/** Turns a ratio of times into one of speeds, where above 1 is faster. */
function speedUp(ratio: engineV1.MedianInterval | undefined): v1.SpeedUp | undefined {
  return ratio && { times: 1 / ratio.median, low: 1 / ratio.high, high: 1 / ratio.low };
}
