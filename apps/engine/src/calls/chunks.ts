// Sends large payloads of bytes as messages of 1 MiB. The receiver joins them and checks them against their digest.
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { EspalierError, invalidField } from '#protocol';
import { fetchBytes } from '../states/bucket-requests.js';

export const CHUNK_BYTES = 1 << 20;
/** The largest payload that the engine takes in one piece. It is far above any state or data set that fits the machine. */
export const PAYLOAD_BYTES_MAX = 2 ** 32;

export function* chunksOf(bytes: Uint8Array): Generator<Buffer> {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let start = 0; start < all.byteLength; start += CHUNK_BYTES) yield all.subarray(start, start + CHUNK_BYTES);
}

/** Computes the SHA-256 of the bytes in pieces, between which the event loop can do other work. */
export async function digestInPieces(bytes: Uint8Array): Promise<string> {
  const hash = createHash('sha256');
  for (const piece of chunksOf(bytes)) {
    hash.update(piece);
    await setImmediate();
  }
  return hash.digest('hex');
}

export interface Upload<First> {
  first: First;
  bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Reads a whole upload, or the bytes at the address that its first message names. `check` gets the first message before the rest is read.
 * It may return the announced size, and throws the error that refuses the call. A digest in the first message must be the digest of the
 * bytes; with an address there must be one.
 */
export async function receive<Message extends { digest: string; address?: string }>(
  messages: AsyncIterable<Message>,
  chunkOf: (message: Message) => Uint8Array,
  check: (first: Message) => number | undefined,
): Promise<Upload<Message>> {
  let first: Message | undefined;
  const hash = createHash('sha256');
  const target = new Growing();
  for await (const message of messages) {
    if (first === undefined) {
      first = message;
      target.announce(check(message));
      if (message.address) return { first, bytes: await bytesAt(message.address, message.digest) };
    }
    const chunk = chunkOf(message);
    hash.update(chunk);
    target.append(chunk);
  }
  if (first === undefined) throw new EspalierError('REQUEST_INVALID', 'the stream ended before its first message');
  const bytes = target.finish();
  if (first.digest !== '') requireDigest(hash.digest('hex'), first.digest);
  return { first, bytes };
}

async function bytesAt(address: string, digest: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await fetchBytes(address, PAYLOAD_BYTES_MAX);
  requireDigest(await digestInPieces(bytes), digest);
  return bytes;
}

function requireDigest(found: string, announced: string): void {
  if (found === announced) return;
  throw new EspalierError('STATE_CORRUPT', `the bytes received have digest ${found}, not ${announced}: they were damaged on the way`, {
    violations: [{ field: 'digest', description: `is not that of the bytes, ${found}`, code: 'STATE_CORRUPT' }],
  });
}

/** Joins bytes that arrive piece by piece. If the size was announced, there is one allocation. */
class Growing {
  private bytes = new Uint8Array(0);
  private used = 0;
  private announced: number | undefined;

  announce(sizeBytes: number | undefined): void {
    if (sizeBytes === undefined) return;
    if (sizeBytes > PAYLOAD_BYTES_MAX)
      throw invalidField('FIELD_OUT_OF_RANGE', 'token_count', `stands for ${sizeBytes} bytes; at most ${PAYLOAD_BYTES_MAX} are taken`);
    this.announced = sizeBytes;
    this.bytes = new Uint8Array(sizeBytes);
  }

  append(chunk: Uint8Array): void {
    const end = this.used + chunk.byteLength;
    if (end > (this.announced ?? PAYLOAD_BYTES_MAX))
      throw invalidField('FIELD_OUT_OF_RANGE', 'chunk', `brings the bytes to ${end}; ${this.announced ?? PAYLOAD_BYTES_MAX} are allowed`);
    if (end > this.bytes.byteLength) this.grow(end);
    this.bytes.set(chunk, this.used);
    this.used = end;
  }

  finish(): Uint8Array<ArrayBuffer> {
    if (this.announced !== undefined && this.used !== this.announced) {
      throw invalidField('FIELD_OUT_OF_RANGE', 'chunk', `the stream ended after ${this.used} of ${this.announced} announced bytes`);
    }
    return this.bytes.subarray(0, this.used);
  }

  private grow(neededBytes: number): void {
    const larger = new Uint8Array(Math.max(neededBytes, 2 * this.bytes.byteLength, CHUNK_BYTES));
    larger.set(this.bytes.subarray(0, this.used));
    this.bytes = larger;
  }
}

/** Returns token ids, which are sent as u32 little-endian. */
export function tokensOf(bytes: Uint8Array<ArrayBuffer>, field: string): Uint32Array {
  if (bytes.byteLength % 4 !== 0)
    throw invalidField('FIELD_OUT_OF_RANGE', field, `has ${bytes.byteLength} bytes; tokens take 4 bytes each`);
  if (bytes.byteOffset % 4 === 0) return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return new Uint32Array(bytes.slice().buffer);
}
