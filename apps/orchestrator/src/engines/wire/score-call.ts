// A Score call: batches of sequences are sent as the engine takes them, and come back scored in the same order.
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { EspalierError, type engineV1 } from '#protocol';
import { drainedOrEnded } from './sent-data.js';

/** Sequences, one after another. The engine scores the last `scored` tokens of each. */
export interface TokenBatch {
  tokens: Uint32Array;
  lengths: number[];
  scored: number[];
}
export interface ScoredBatch {
  logLikelihoods: number[];
  greedy: boolean[];
}

/** The number of batches under way: one that is computed, and one that waits. */
const BATCHES_AHEAD = 2;

export async function* scoreBatches(
  call: ClientDuplexStream<engineV1.ScoreRequest, engineV1.ScoreResponse>,
  responses: AsyncIterable<engineV1.ScoreResponse>,
  request: Pick<engineV1.ScoreRequest, 'sessionId' | 'modelPath' | 'intact' | 'computeDtype'>,
  batches: AsyncIterable<TokenBatch>,
  onProgress: (batchShare: number) => void,
): AsyncGenerator<ScoredBatch> {
  let ended = false;
  /** The numbers of sequences of the batches under way. */
  const ahead: number[] = [];
  let answered: () => void = () => undefined;
  call.once('status', () => {
    ended = true;
    answered();
  });
  const send = async (): Promise<void> => {
    for await (const { tokens, lengths, scored } of batches) {
      while (ahead.length >= BATCHES_AHEAD && !ended)
        await new Promise<void>((resolve) => {
          answered = resolve;
        });
      if (ended) return;
      ahead.push(lengths.length);
      const room = call.write({ ...request, tokens: Buffer.from(tokens.buffer, tokens.byteOffset, tokens.byteLength), lengths, scored });
      if (!room) await drainedOrEnded(call);
    }
    call.end();
  };
  let sendingError: unknown;
  const sending = send().catch((error: unknown) => {
    // such as a text that the tokenizer refuses: the engine waits for a batch that never comes
    sendingError = error;
    call.cancel();
  });
  try {
    for await (const { doneShare, logLikelihoods, greedy } of responses) {
      if (logLikelihoods.length === 0) {
        onProgress(doneShare);
        continue;
      }
      const asked = ahead.shift() ?? 0;
      if (logLikelihoods.length !== asked || greedy.length !== asked)
        throw new EspalierError('ENGINE_FAILED', `the engine scored ${logLikelihoods.length} sequences of a batch of ${asked}`);
      answered();
      yield { logLikelihoods, greedy: Array.from(greedy, (one) => one === 1) };
    }
  } catch (error) {
    throw sendingError ?? error;
  } finally {
    ended = true;
    answered();
    await sending;
  }
}
