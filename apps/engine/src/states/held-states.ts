// States that trainings have handed out by their digest alone. Each is held, in memory or in slices on the disk, until the orchestrator
// says that it is in the bucket, or has taken its bytes (docs/design/object-storage.md).
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { EspalierError, invalidField, type engineV1 } from '#protocol';
import { CHUNK_BYTES } from '../calls/chunks.js';
import { putPart } from './bucket-requests.js';
import { chunksOfState, type HandedState } from './handed-state.js';

const PARTS_AT_ONCE = 4;

interface HeldState {
  state: HandedState;
  /** The trainings that hold the state, each with the promise that it waits for. */
  letGo: (() => void)[];
}

export class HeldStates {
  private readonly states = new Map<string, HeldState>();
  private emptied: () => void = () => undefined;

  /** @param letGo called when its bytes are no longer needed */
  hold(digest: string, state: HandedState, letGo: () => void): void {
    const held = this.states.get(digest);
    if (held === undefined) this.states.set(digest, { state, letGo: [letGo] });
    else held.letGo.push(letGo);
  }

  /** @throws EspalierError STATE_NOT_HELD, BUCKET_UNREACHABLE, BUCKET_ADDRESS_REFUSED */
  async put({ digest, parts }: engineV1.PutStateRequest): Promise<string[]> {
    const state = this.require(digest);
    const etags: string[] = [];
    const waiting = [...parts.entries()];
    const sendSome = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [index, part] = next;
        const [from, to] = [Number(part.offset), Number(part.offset + part.bytes)];
        if (to > state.bytes)
          throw invalidField('FIELD_OUT_OF_RANGE', `parts[${index}]`, `ends at byte ${to}; the state has ${state.bytes} bytes`);
        etags[index] = await putPart(part, await state.read(from, to));
      }
    };
    const senders = await Promise.allSettled(Array.from({ length: PARTS_AT_ONCE }, sendSome));
    for (const sender of senders) if (sender.status === 'rejected') throw sender.reason;
    return etags;
  }

  async *chunks(digest: string, from = 0): AsyncGenerator<engineV1.SendStateResponse> {
    for await (const chunk of chunksOfState(this.require(digest), from)) yield { chunk };
  }

  /** One of the trainings that hold the state needs it no longer. */
  release(digest: string): void {
    const held = this.states.get(digest);
    held?.letGo.shift()?.();
    if (held?.letGo.length === 0) this.states.delete(digest);
    if (this.states.size === 0) this.emptied();
  }

  /** The claim has ended: no call will ask for them. */
  clear(): void {
    for (const { letGo } of this.states.values()) for (const one of letGo) one();
    this.states.clear();
    this.emptied();
  }

  /** Resolves when no state is held, or after the given time. */
  async handedIn(withinMs: number): Promise<void> {
    if (this.states.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      this.emptied = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private require(digest: string): HandedState {
    const held = this.states.get(digest);
    if (held !== undefined) return held.state;
    throw new EspalierError('STATE_NOT_HELD', `the engine holds no state ${digest}`);
  }
}

/** The SHA-256 of each part. No part reaches from one slice into the next. */
export async function sumsOfParts(state: HandedState, partBytes: number): Promise<Buffer[]> {
  const sums: Buffer[] = [];
  let begin = 0;
  for (const { bytes } of state.slices.length === 0 ? [state] : state.slices) {
    for (let at = begin; at < begin + bytes; at += partBytes) sums.push(await sumOf(state, at, Math.min(at + partBytes, begin + bytes)));
    begin += bytes;
  }
  return sums;
}

async function sumOf(state: HandedState, from: number, to: number): Promise<Buffer> {
  const hash = createHash('sha256');
  for (let at = from; at < to; at += CHUNK_BYTES) {
    hash.update(await state.read(at, Math.min(at + CHUNK_BYTES, to)));
    await setImmediate(); // the event loop can do other work
  }
  return hash.digest();
}
