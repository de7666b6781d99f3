// Handles Evaluate, which returns the perplexity of a model on tokens.
import { EspalierError, type engineV1 } from '#protocol';
import { evaluateModel, type EvaluationResult } from '#native-engine';
import { Batches } from './batches.js';
import { receiveTokens } from './chunks.js';
import { computeDtypeOf, unstructuredOf } from './protocol-messages.js';
import type { EngineServiceParts } from '../service-parts.js';

export async function* evaluate(
  { holder, device, threads }: EngineServiceParts,
  requests: AsyncIterable<engineV1.EvaluateRequest>,
  signal: AbortSignal,
): AsyncGenerator<engineV1.EvaluateResponse> {
  const { first, ids } = await receiveTokens(requests, (message) => {
    if (message.modelPath === '') holder.require(message.sessionId);
  });
  const started = performance.now();
  const options = {
    ids,
    window: first.window || 256,
    computeDtype: computeDtypeOf(first.computeDtype, 'f32'),
    device,
    threads,
    intact: first.intact,
    unstructured: first.unstructured === undefined ? undefined : unstructuredOf(first.unstructured),
  };
  const shares = new Batches<number>();
  const running = holder
    .exclusive<EvaluationResult>(
      'Evaluate',
      (stop) => {
        const job = { signal: stop, onReports: (batch: number[]) => shares.push(batch) };
        return first.modelPath === ''
          ? holder.require(first.sessionId).session.evaluate(options, job)
          : evaluateModel(first.modelPath, options, job);
      },
      signal,
    )
    .finally(() => shares.end());
  running.catch(() => undefined); // awaited below, after the last report
  for await (const batch of shares) yield { doneShare: batch.at(-1)!, outcome: undefined };
  const result = await running;
  if (!Number.isFinite(result.negativeLogLikelihood))
    throw new EspalierError('EVALUATION_NOT_FINITE', 'the model gives values that are not finite on these tokens');
  yield { doneShare: 1, outcome: { ...result, seconds: (performance.now() - started) / 1000 } };
}
