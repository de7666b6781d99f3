// Lets the engine compute the perplexity of a run's model on its validation data.
import type { ArtifactStore } from '#artifact-store';
import { engineV1, EspalierError } from '#protocol';
import { perplexityOver } from '../pruning-run/record/measures.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/pruning-run.decisions.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { unstructuredRequest } from '../engines/wire/engine-requests.js';
import { isRun, numericsOf, recordedSubject, withSubject, type Measurable, type MeasuredSubject } from './subjects.js';

export interface EvaluationRequest {
  run: Measurable;
  subject: MeasuredSubject;
  window: number;
  /** The tokens at the beginning of the text that are measured; 0: all. */
  firstTokens: number;
  /** The artifact of the tokens. */
  dataDigest: string;
}

export async function evaluate(
  bench: EngineWorkbench,
  artifacts: Pick<ArtifactStore, 'open' | 'get' | 'pathOf'>,
  request: EvaluationRequest,
  onProgress: (doneShare: number) => void,
  signal: AbortSignal,
): Promise<RecordEvaluation> {
  const { run, subject, window, firstTokens, dataDigest } = request;
  const tokens = firstOf(artifacts.open(dataDigest), firstTokens);
  const unstructured = subject.kind === 'unstructured' && isRun(run) ? unstructuredRequest(run.settings, subject) : undefined;
  const outcome = await withSubject(bench, artifacts, run, subject, (model) =>
    bench.engine.client.evaluate({ ...model, window, computeDtype: PERPLEXITY_DTYPE, unstructured }, tokens, onProgress, signal),
  );
  return { ...recorded(request, outcome), ...numericsOf(bench, run, subject) };
}

const TOKEN_BYTES = 4;
export const PERPLEXITY_DTYPE = engineV1.ComputeDtype.COMPUTE_DTYPE_F32;

/** The first tokens; 0: all. The rest is read too, since the end of the reading checks the digest of the whole. */
export async function* firstOf(bytes: AsyncIterable<Uint8Array>, tokens: number): AsyncGenerator<Uint8Array> {
  let left = tokens === 0 ? Infinity : tokens * TOKEN_BYTES;
  for await (const chunk of bytes) {
    if (left > 0) yield chunk.length <= left ? chunk : chunk.subarray(0, left);
    left -= chunk.length;
  }
}

function recorded({ subject, window, firstTokens, dataDigest }: EvaluationRequest, outcome: engineV1.EvaluationOutcome): RecordEvaluation {
  const { perplexity, negativeLogLikelihood } = outcome;
  if (!Number.isFinite(perplexity) || !Number.isFinite(negativeLogLikelihood)) {
    throw new EspalierError('EVALUATION_NOT_FINITE', `the negative log-likelihood is ${negativeLogLikelihood}: the model is broken`);
  }
  return {
    kind: 'recordEvaluation',
    ...recordedSubject(subject),
    ...perplexityOver(window, firstTokens),
    value: perplexity,
    stderr: null,
    n: Number(outcome.predictions),
    details: {
      negativeLogLikelihood,
      ...(subject.kind === 'unstructured' ? { zeroShare: outcome.zeroShare } : {}),
    },
    dataDigest,
  };
}
