// Puts together answers of an engine that come in several messages.
import { type engineV1, EspalierError } from '#protocol';
import type { EndedSegment, TrainedSegment } from './engine-client.js';

/** A larger state is in slices, which are never sent with the training. */
const STATE_BYTES_MAX = 2 ** 31;

/**
 * Returns the state after a segment: its file, or the bytes from the messages that follow; null: it is not here.
 * @param asked the path at which the engine was asked to write states; to each it adds "-" and the state's step
 */
export async function stateOf(
  messages: AsyncIterator<engineV1.TrainResponse>,
  { state, stateFile, stateBytes, partSums, slices }: TrainedSegment,
  asked: string,
): Promise<EndedSegment['state']> {
  if (stateFile !== '') {
    const expected = `${asked}-${state.step}`;
    if (asked === '' || stateFile !== expected)
      throw new EspalierError('ENGINE_FAILED', `the engine named ${JSON.stringify(stateFile)} as the file of a state, which is another`);
    return { file: stateFile };
  }
  if (stateBytes === 0n || partSums.length > 0 || slices.length > 0) return null;
  return wholeOf({ stateBytes }, chunksOf(messages));
}

async function* chunksOf(messages: AsyncIterator<engineV1.TrainResponse>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { value } = (await messages.next()) as IteratorResult<engineV1.TrainResponse, undefined>;
    if (value === undefined || value.stateChunk.length === 0) return;
    yield value.stateChunk;
  }
}

/** Puts a state together that is sent in one piece. Reads no more than was announced. @throws EspalierError ENGINE_FAILED */
export async function wholeOf({ stateBytes }: { stateBytes: bigint }, chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  if (stateBytes > BigInt(STATE_BYTES_MAX))
    throw new EspalierError(
      'ENGINE_FAILED',
      `the engine announced a state of ${stateBytes} bytes in one piece; ${STATE_BYTES_MAX} are allowed`,
    );
  const bytes = Buffer.allocUnsafe(Number(stateBytes));
  let used = 0;
  for await (const chunk of chunks) {
    if (used + chunk.length <= bytes.length) bytes.set(chunk, used);
    used += chunk.length;
    if (used >= bytes.length) break;
  }
  if (used !== bytes.length)
    throw new EspalierError('ENGINE_FAILED', `the engine announced a state of ${stateBytes} bytes and sent ${used}`);
  return bytes;
}

/** The most characters and numbers of an answer that is recorded or shown. It usually has some hundred. */
const SHORT_MAX = 1 << 16;

/** @throws EspalierError ENGINE_FAILED where the answer is so long that it would fill every list and record with it */
export function short<T>(answer: T, name: string): T {
  const size = sizeOf(answer);
  if (size <= SHORT_MAX) return answer;
  throw new EspalierError('ENGINE_FAILED', `the engine sent a ${name} of ${size} characters and numbers; ${SHORT_MAX} are allowed`);
}

function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return 1;
  return Object.values(value).reduce<number>((sum, inner) => sum + sizeOf(inner), 0);
}

/** @throws EspalierError ENGINE_FAILED */
export function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new EspalierError('ENGINE_FAILED', `the engine sent no ${name}`);
  return value;
}

/** The state that an engine made or took. Its digest goes into the record. @throws EspalierError ENGINE_FAILED, RESULT_CONTRADICTS_STATE */
export function requiredState(state: engineV1.StateSummary | undefined, name: string): engineV1.StateSummary {
  const found = required(state, name);
  if (/^[0-9a-f]{64}$/.test(found.digest)) return found;
  throw new EspalierError('RESULT_CONTRADICTS_STATE', `the engine sent ${JSON.stringify(found.digest)} as the digest of ${name}`);
}
