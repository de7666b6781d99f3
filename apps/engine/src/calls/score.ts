// Handles Score: one scorer serves the whole call, and the batches are scored one after the other.
import { engineV1, EspalierError, invalidField } from '#protocol';
import { withModelScorer, type ScoreOne, type Scores } from '#native-engine';
import { Batches } from './batches.js';
import { tokensOf } from './chunks.js';
import { computeDtypeOf } from './protocol-messages.js';
import type { EngineServiceParts } from '../service-parts.js';

type Progress = { doneShare: number } | { scores: Scores };

export async function* score(
  { holder, device, threads }: Pick<EngineServiceParts, 'holder' | 'device' | 'threads'>,
  requests: AsyncIterable<engineV1.ScoreRequest>,
  signal: AbortSignal,
): AsyncGenerator<engineV1.ScoreResponse> {
  const messages = requests[Symbol.asyncIterator]();
  const begin = await messages.next();
  if (begin.done === true) throw new EspalierError('REQUEST_INVALID', 'the stream ended before its first message');
  const first = begin.value;
  if (first.modelPath === '') holder.require(first.sessionId);
  const options = { computeDtype: computeDtypeOf(first.computeDtype, 'f32'), device, threads, intact: first.intact };
  const news = new Batches<Progress>();
  const scores = (stop: AbortSignal): Promise<void> => {
    const scoreAll = async (scoreOne: ScoreOne): Promise<void> => {
      for (let next: IteratorResult<engineV1.ScoreRequest, unknown> = begin; next.done !== true; next = await messages.next()) {
        stop.throwIfAborted();
        const onReports = (shares: number[]): void => news.push([{ doneShare: shares.at(-1)! }]);
        news.push([{ scores: await scoreOne(batchOf(next.value), { signal: stop, onReports }) }]);
      }
    };
    return first.modelPath === ''
      ? holder.require(first.sessionId).session.withScorer(options, scoreAll)
      : withModelScorer(first.modelPath, options, scoreAll);
  };
  const running = holder.exclusive('Score', scores, signal).finally(() => news.end());
  running.catch(() => undefined); // awaited below, after the last report
  for await (const batch of news) for (const item of batch) yield responseOf(item);
  await running;
}

function batchOf({ tokens, lengths, scored }: engineV1.ScoreRequest): { ids: Uint32Array; lengths: Uint32Array; scored: Uint32Array } {
  if (lengths.length === 0) throw invalidField('FIELD_REQUIRED', 'lengths', 'is empty: a batch has one sequence or more');
  return { ids: tokensOf(new Uint8Array(tokens), 'tokens'), lengths: Uint32Array.from(lengths), scored: Uint32Array.from(scored) };
}

function responseOf(item: Progress): engineV1.ScoreResponse {
  if ('doneShare' in item) return { doneShare: item.doneShare, logLikelihoods: [], greedy: Buffer.alloc(0) };
  const { logLikelihoods, greedy } = item.scores;
  if (!logLikelihoods.every(Number.isFinite))
    throw new EspalierError('EVALUATION_NOT_FINITE', 'the model gives values that are not finite on these tokens');
  return { doneShare: 1, logLikelihoods: Array.from(logLikelihoods), greedy: Buffer.from(greedy) };
}
