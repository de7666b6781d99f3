// Puts together answers of an engine that come in several messages.
import { type engineV1, EspalierError } from '#protocol';
import type { EndedSegment } from './engine-client.js';

/** Returns the state after a segment: its file, or the bytes from the messages that follow; null: it is not here. */
export async function stateOf(
  messages: AsyncIterator<engineV1.TrainResponse>,
  { stateFile, stateBytes, partSums }: engineV1.SegmentOutcome,
): Promise<EndedSegment['state']> {
  if (stateFile !== '') return { file: stateFile };
  if (stateBytes === 0n || partSums.length > 0) return null;
  const bytes = Buffer.allocUnsafe(Number(stateBytes));
  for (let used = 0; used < bytes.length;) {
    const { value } = (await messages.next()) as IteratorResult<engineV1.TrainResponse, undefined>;
    const chunk = value?.stateChunk ?? Buffer.alloc(0);
    if (chunk.length === 0 || used + chunk.length > bytes.length) {
      throw new EspalierError('ENGINE_FAILED', `the engine announced a state of ${stateBytes} bytes and sent ${used + chunk.length}`);
    }
    bytes.set(chunk, used);
    used += chunk.length;
  }
  return bytes;
}

/** @throws EspalierError ENGINE_FAILED */
export function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new EspalierError('ENGINE_FAILED', `the engine sent no ${name}`);
  return value;
}
