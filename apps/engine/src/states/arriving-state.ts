// A state that a client gives to the engine: a file or a folder that both share, or bytes that come in messages or from a bucket. Bytes go
// to a file in this process's scratch folder first, so that no state has to fit into the memory of Node.
import { open, rm, type FileHandle } from 'node:fs/promises';
import { dirname, isAbsolute } from 'node:path';
import { PassingState } from '#files';
import { EspalierError, invalidField } from '#protocol';
import type { EngineServiceParts } from '../service-parts.js';
import { bytesFrom } from './bucket-requests.js';

interface StateMessage {
  digest: string;
  chunk: Uint8Array;
  addresses: string[];
  stateFile: string;
}

/**
 * Gives `use` the first message and the path of the state.
 * @param check gets the first message before the rest is read, and throws the error that refuses the call
 */
export async function withArrivingState<Message extends StateMessage, T>(
  { scratch, sliceBytes }: Pick<EngineServiceParts, 'scratch' | 'sliceBytes'>,
  messages: AsyncIterable<Message>,
  check: (first: Message) => void,
  use: (first: Message, stateFile: string) => Promise<T>,
): Promise<T> {
  const iterator = messages[Symbol.asyncIterator]();
  const begin = await iterator.next();
  if (begin.done === true) throw new EspalierError('REQUEST_INVALID', 'the stream ended before its first message');
  const first = begin.value;
  check(first);
  if (first.stateFile !== '') {
    if (!isAbsolute(first.stateFile))
      throw invalidField('FIELD_OUT_OF_RANGE', 'state_file', `is "${first.stateFile}": it must be an absolute path`);
    return use(first, first.stateFile);
  }
  const path = scratch.newPath();
  try {
    const found = await keep(first.addresses.length === 0 ? following(first, iterator) : addressed(first.addresses), path, sliceBytes);
    if (first.digest !== '') requireDigest(found, first.digest);
    return await use(first, path);
  } finally {
    await rm(dirname(path), { recursive: true, force: true }).catch(() => undefined); // in this process's scratch folder
  }
}

async function* following(first: StateMessage, rest: AsyncIterator<StateMessage>): AsyncGenerator<Uint8Array> {
  yield first.chunk;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value.chunk;
}

async function* addressed(addresses: string[]): AsyncGenerator<Uint8Array> {
  for (const address of addresses) yield* bytesFrom(address);
}

/** Writes the bytes to a new file. Returns their digest. */
async function keep(bytes: AsyncIterable<Uint8Array>, path: string, sliceBytes: number): Promise<string> {
  const state = new PassingState(sliceBytes);
  const file = await open(path, 'wx', 0o600);
  try {
    for await (const chunk of bytes) {
      state.pass(chunk);
      await writeWhole(file, chunk);
    }
  } finally {
    await file.close();
  }
  return state.digest();
}

async function writeWhole(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.byteLength;) done += (await file.write(chunk, done)).bytesWritten;
}

function requireDigest(found: string, announced: string): void {
  if (found === announced) return;
  throw new EspalierError('STATE_CORRUPT', `the bytes received have digest ${found}, not ${announced}: they were damaged on the way`, {
    violations: [{ field: 'digest', description: `is not that of the bytes, ${found}`, code: 'STATE_CORRUPT' }],
  });
}
