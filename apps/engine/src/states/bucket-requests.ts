// Requests to a bucket by addresses that the orchestrator has signed. An address lets anyone who knows it read or write for some minutes,
// so no error and no log of this file holds one.
import { request as plainRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { EspalierError, invalidField, type engineV1 } from '#protocol';

const TRIES = 4;
const FIRST_PAUSE_MS = 200;
/** A server that sends and takes nothing for this time counts as not answering. */
const SILENT_FOR_MS = 20_000;
const ANSWER_BYTES_MAX = 4_096;
/** The server asks for a pause, or the bytes were changed on their way. Any other status of the 400s would come again. */
const WORTH_ANOTHER_TRY = new Set([408, 409, 425, 429]);
const TRANSFER_ERRORS = new Set(['BadDigest', 'XAmzContentChecksumMismatch', 'XAmzContentSHA256Mismatch', 'RequestTimeout']);

/** Writes a part. Resolves to the ETag of the answer. @throws EspalierError BUCKET_UNREACHABLE, BUCKET_ADDRESS_REFUSED */
export async function putPart({ url, headers }: engineV1.SignedPart, bytes: Uint8Array): Promise<string> {
  const to = checked(url);
  return again(to, async () => {
    const answer = await answered(to, 'PUT', { ...headers, 'content-length': String(bytes.byteLength) }, bytes);
    await requireGood(to, answer);
    answer.resume();
    return answer.headers.etag ?? '';
  });
}

/**
 * Yields all bytes; a connection that breaks goes on where it broke.
 * @throws EspalierError BUCKET_UNREACHABLE, BUCKET_ADDRESS_REFUSED
 */
export async function* bytesFrom(url: string): AsyncGenerator<Uint8Array> {
  const from = checked(url);
  for (let at = 0, size = Infinity; at < size;) {
    const before = at;
    const answer = await again(from, async () => {
      const found = await answered(from, 'GET', at === 0 ? {} : { range: `bytes=${at}-` });
      await requireGood(from, found);
      return found;
    });
    let skipped = answer.statusCode === 206 ? 0 : at; // a server that gives no ranges begins anew
    size = at - skipped + sizeIn(from, answer);
    try {
      for await (const chunk of answer as AsyncIterable<Uint8Array>) {
        const fresh = chunk.subarray(Math.min(skipped, chunk.byteLength));
        skipped -= chunk.byteLength - fresh.byteLength;
        if (at + fresh.byteLength > size) throw refused(from, `sends more than the announced ${size} bytes`);
        at += fresh.byteLength;
        if (fresh.byteLength > 0) yield fresh;
      }
    } catch (error) {
      if (error instanceof EspalierError) throw error;
    }
    if (at === before) throw unreachable(from, 'the connection ended early, more than once');
  }
}

function sizeIn(from: URL, { headers }: IncomingMessage): number {
  const size = Number(headers['content-length'] ?? NaN);
  if (Number.isSafeInteger(size) && size > 0) return size;
  throw refused(from, `announces ${headers['content-length'] ?? 'an unknown number of'} bytes; 1 or more are allowed`);
}

function checked(url: string): URL {
  const address = URL.canParse(url) ? new URL(url) : null;
  if (address !== null && ['http:', 'https:'].includes(address.protocol)) return address;
  throw invalidField('FIELD_OUT_OF_RANGE', 'url', 'is not an address that begins with http:// or https://');
}

function answered(to: URL, method: string, headers: Record<string, string>, body?: Uint8Array): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const send = to.protocol === 'https:' ? tlsRequest : plainRequest;
    const call: ClientRequest = send(to, { method, headers, timeout: SILENT_FOR_MS }, resolve);
    call.on('timeout', () => call.destroy(new Error(`no byte for ${SILENT_FOR_MS / 1_000} s`)));
    call.on('error', reject);
    call.end(body);
  });
}

/** Repeats a request whose failure may pass after a pause. */
async function again<T>(to: URL, work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof EspalierError && error.code !== 'BUCKET_UNREACHABLE') throw error;
      if (tries === TRIES) throw error instanceof EspalierError ? error : unreachable(to, (error as Error).message);
      await sleep(FIRST_PAUSE_MS * 3 ** (tries - 1) * (0.5 + Math.random() / 2));
    }
  }
}

async function requireGood(to: URL, answer: IncomingMessage): Promise<void> {
  const status = answer.statusCode ?? 0;
  if (status === 200 || status === 206) return;
  const code = await codeIn(answer);
  const words = `answers ${status}${code === '' ? '' : ` ${code}`}`;
  if (status >= 500 || WORTH_ANOTHER_TRY.has(status) || TRANSFER_ERRORS.has(code)) throw unreachable(to, `it ${words}`);
  throw refused(to, words);
}

async function codeIn(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer as AsyncIterable<Buffer>) if (text.length < ANSWER_BYTES_MAX) text += chunk.toString();
  return /<Code>(\w{1,60})<\/Code>/.exec(text)?.[1] ?? '';
}

function unreachable({ host }: URL, why: string): EspalierError {
  return new EspalierError('BUCKET_UNREACHABLE', `the bucket's server ${host} can't be reached from the engine: ${why}`);
}

function refused({ host }: URL, what: string): EspalierError {
  return new EspalierError('BUCKET_ADDRESS_REFUSED', `the bucket's server ${host} ${what}`);
}
