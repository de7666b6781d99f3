// Bytes that arrive and leave in messages of 1 MiB.
import { EspalierError, invalidField } from '#protocol';

export const CHUNK_BYTES = 1 << 20;
/** The most tokens of an evaluation: they stay in memory. */
const TOKENS_MAX = 2 ** 28;

/**
 * Joins the tokens of all messages.
 * @param check gets the first message before the rest is read, and throws the error that refuses the call
 */
export async function receiveTokens<Message extends { tokens: Uint8Array }>(
  messages: AsyncIterable<Message>,
  check: (first: Message) => void,
): Promise<{ first: Message; ids: Uint32Array }> {
  let first: Message | undefined;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const message of messages) {
    if (first === undefined) check((first = message));
    chunks.push(message.tokens);
    bytes += message.tokens.byteLength;
    if (bytes > TOKENS_MAX * 4) throw invalidField('FIELD_OUT_OF_RANGE', 'tokens', `are more than the ${TOKENS_MAX} that are allowed`);
  }
  if (first === undefined) throw new EspalierError('REQUEST_INVALID', 'the stream ended before its first message');
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return { first, ids: tokensOf(whole, 'tokens') };
}

/** Returns token ids, which are sent as u32 little-endian. */
export function tokensOf(bytes: Uint8Array<ArrayBuffer>, field: string): Uint32Array {
  if (bytes.byteLength % 4 !== 0)
    throw invalidField('FIELD_OUT_OF_RANGE', field, `has ${bytes.byteLength} bytes; tokens take 4 bytes each`);
  if (bytes.byteOffset % 4 === 0) return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return new Uint32Array(bytes.slice().buffer);
}
