// Sends one file of a model to an engine, at the pace at which the engine confirms its bytes.
import { open } from 'node:fs/promises';
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { EspalierError, engineV1 } from '#protocol';
import { engineError } from '../wire/engine-errors.js';
import type { ModelFile } from './model-listing.js';

export type ModelFileCall = ClientDuplexStream<engineV1.SendModelFileRequest, engineV1.SendModelFileResponse>;

const CHUNK_BYTES = 64 << 10;
/** The least and the largest number of bytes under way. A tunnel takes no more than the largest. */
const WINDOW_BYTES_MIN = 256 << 10;
const WINDOW_BYTES_MAX = 8 << 20;
/** Health checks queue behind the bytes under way, so no more are sent than arrive in this time. */
const UNDER_WAY_MS = 1_000;
/**
 * A machine that takes no byte for this time counts as gone. It is long, since the disk may be slow and the engine reads the file again at
 * the end.
 */
const SILENCE_MAX_MS = 600_000;

interface Sending {
  /** The name by which the engine knows the model. */
  model: string;
  file: ModelFile;
  /** Called with the number of bytes that the engine has. */
  onHere: (bytes: number) => void;
  signal?: AbortSignal;
}

/** @throws EspalierError MODEL_CHANGED, and the engine's errors */
export async function sendModelFile(call: ModelFileCall, { model, file, onHere, signal }: Sending): Promise<void> {
  const answers = new Answers(call);
  const cancel = (): void => call.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    call.write({ modelPath: model, name: file.name, chunk: Buffer.alloc(0) });
    let answer = await answers.next();
    onHere(Number(answer.bytesHere));
    if (answer.complete) return;
    await sendFrom(call, file, Number(answer.bytesHere), async (isEnough) => {
      while (!isEnough(Number(answer.bytesHere))) {
        answer = await answers.next();
        onHere(Number(answer.bytesHere));
      }
    });
    while (!answer.complete) answer = await answers.next();
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
    call.cancel();
  }
}

/** @param confirmed reads answers until the given function says that the engine has enough bytes */
async function sendFrom(
  call: ModelFileCall,
  { name, path, bytes }: ModelFile,
  from: number,
  confirmed: (isEnough: (bytesHere: number) => boolean) => Promise<void>,
): Promise<void> {
  const file = await open(path, 'r').catch((error: unknown) => {
    throw new EspalierError('MODEL_NOT_FOUND', `${path} can't be read: ${(error as Error).message}`, { cause: error });
  });
  try {
    const window = new Window(from);
    for (let sent = from; sent < bytes;) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, bytes - sent));
      const { bytesRead } = await file.read(chunk, 0, chunk.byteLength, sent);
      if (bytesRead === 0) throw new EspalierError('MODEL_CHANGED', `${name} became shorter while it was sent: it ends at byte ${sent}`);
      call.write({ modelPath: '', name: '', chunk: chunk.subarray(0, bytesRead) });
      sent += bytesRead;
      await confirmed((here) => {
        window.note(here);
        return sent - here < window.bytes;
      });
    }
    await confirmed((here) => here >= bytes);
  } finally {
    await file.close();
  }
}

/** The number of bytes that may be under way. It follows the pace at which bytes were confirmed lately. */
class Window {
  bytes = WINDOW_BYTES_MIN;
  private measuredAtMs = performance.now();

  constructor(private measuredFrom: number) {}

  note(here: number, nowMs = performance.now()): void {
    const elapsedMs = nowMs - this.measuredAtMs;
    if (elapsedMs < UNDER_WAY_MS / 4 || here === this.measuredFrom) return;
    const inTime = ((here - this.measuredFrom) / elapsedMs) * UNDER_WAY_MS;
    // The window at most doubles, since it limits the pace that is measured.
    this.bytes = Math.max(WINDOW_BYTES_MIN, Math.min(WINDOW_BYTES_MAX, 2 * this.bytes, inTime));
    [this.measuredAtMs, this.measuredFrom] = [nowMs, here];
  }
}

/** The messages of the engine. */
class Answers {
  private readonly messages: AsyncIterator<engineV1.SendModelFileResponse>;

  constructor(private readonly call: ModelFileCall) {
    this.messages = (call as AsyncIterable<engineV1.SendModelFileResponse>)[Symbol.asyncIterator]();
  }

  async next(): Promise<engineV1.SendModelFileResponse> {
    const timer = setTimeout(() => this.call.cancel(), SILENCE_MAX_MS);
    try {
      const { value } = (await this.messages.next()) as IteratorResult<engineV1.SendModelFileResponse, undefined>;
      if (value === undefined) throw new EspalierError('ENGINE_FAILED', 'the engine ended a file without saying that it is whole');
      return value;
    } catch (error) {
      throw error instanceof EspalierError ? error : engineError(error as ServiceError);
    } finally {
      clearTimeout(timer);
    }
  }
}
