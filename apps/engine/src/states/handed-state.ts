// A state that a training hands out, read piece by piece: from memory, or from the folder of its slices.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOfSlices, joinedBytes, readPart, slicesIn, slicesWithin, type Slice } from '#files';
import { EspalierError } from '#protocol';
import { CHUNK_BYTES } from '../calls/chunks.js';

export interface HandedState {
  readonly bytes: number;
  /** Empty where the state is not in slices. */
  readonly slices: readonly Slice[];
  read(from: number, to: number): Promise<Uint8Array>;
}

export function stateInMemory(bytes: Uint8Array): HandedState {
  return { bytes: bytes.byteLength, slices: [], read: (from, to) => Promise.resolve(bytes.subarray(from, to)) };
}

export async function stateInSlices(folder: string): Promise<HandedState> {
  const slices = await slicesIn(folder);
  if (slices === null) throw new EspalierError('STATE_NOT_HELD', `the slices of a state in ${folder} are gone`);
  return {
    bytes: bytesOfSlices(slices),
    slices,
    async read(from, to) {
      const parts: Buffer[] = [];
      for (const part of slicesWithin(slices, from, to)) parts.push(await readPart(join(folder, part.slice.digest), part.from, part.to));
      return joinedBytes(parts);
    },
  };
}

export async function* chunksOfState(state: HandedState, from = 0): AsyncGenerator<Buffer> {
  for (let at = from; at < state.bytes; at += CHUNK_BYTES) {
    const chunk = await state.read(at, Math.min(at + CHUNK_BYTES, state.bytes));
    yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  }
}

/** The folder that a training wrote into this process's scratch folder. */
export const removeSlices = (folder: string): Promise<void> => rm(folder, { recursive: true, force: true });
