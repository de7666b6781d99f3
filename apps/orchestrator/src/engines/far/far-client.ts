// The client of an engine on another machine, which may lack the models that requests name. It sends their files to the engine first
// (docs/design/model-files.md), so callers need not know where an engine is.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Channel } from '@grpc/grpc-js';
import { engineV1, EspalierError, toEspalierError } from '#protocol';
import { EngineClient, type TrainedSegment } from '../wire/engine-client.js';
import { digestOf, filesOfModel, outlineOf, type ModelFile } from './model-listing.js';
import { sendModelFile } from './send-model-file.js';

/** The pause between tries while another engine on the same machine receives the model. */
const BUSY_PAUSE_MS = 500;
/** The longest time for that: the engine may say so forever. */
const BUSY_MAX_MS = 6 * 3_600_000;
/** A file is sent at most this number of times, where it arrived with other bytes or the engine lacks it all the same. */
const FILE_TRIES = 3;
/** How often received messages are confirmed. The engine keeps its messages until then. */
const CONFIRM_EVERY_MS = 500;
/** How often, and with which pause, a lost call looks whether its connection was lost, too. */
const LOOKS = 20;
const LOOK_MS = 50;

/** The bytes of a model's files: those that have arrived, and all. */
export interface ModelTransfer {
  bytesHere: number;
  bytes: number;
}

/** Tells whether the loss of a connection may be the cause of the error. */
const isOfConnection = (error: unknown): boolean => toEspalierError(error).code === 'ENGINE_LOST';

const marksOf = (files: readonly ModelFile[]): string => files.map(({ name, mark }) => `${name} ${mark}`).join('\n');

export class FarEngineClient extends EngineClient {
  /** The names of the outlines that the engine has, by the model's path. */
  private readonly outlines = new Map<string, { marks: string; name: string }>();
  /** Called while files are sent to the engine, and with null at the end. */
  onTransfer: (transfer: ModelTransfer | null) => void = () => undefined;

  private away: { ends: Promise<boolean>; end: (isBack: boolean) => void } | null = null;
  /** The number of connections so far, so that a call can tell whether its own was replaced. */
  private connection = 0;

  private isGivenUp = false;

  get isAway(): boolean {
    return this.away !== null;
  }

  /** Called when the connection is lost and the engine is expected to dial in again. */
  wentAway(reason: EspalierError): void {
    if (this.away !== null || this.isGivenUp) return;
    let end: (isBack: boolean) => void = () => undefined;
    const ends = new Promise<boolean>((resolve) => (end = resolve));
    this.away = { ends, end };
    this.suspend(reason);
  }

  /** Called when the same process of the engine has dialled in again. */
  cameBack(address: string, channel: Channel): void {
    if (this.isGivenUp) return;
    this.resume(address, channel);
    this.connection += 1;
    this.away?.end(true);
    this.away = null;
  }

  override close(reason?: EspalierError): void {
    super.close(reason);
    this.isGivenUp = true;
    this.away?.end(false);
    this.away = null;
  }

  /** Reads the messages of a training. If the connection is cut and the engine comes back in time, the reader notices nothing. */
  protected override async *trainMessages(request: engineV1.TrainRequest, signal: AbortSignal): AsyncGenerator<engineV1.TrainResponse> {
    const trainingId = randomUUID();
    let [taken, confirmedAtMs, isOver] = [0, 0, false];
    const confirm = (): void => {
      confirmedAtMs = performance.now();
      const request = { trainingId, messagesTaken: BigInt(taken) };
      void this.confirmTraining(request).catch(() => undefined); // a later confirmation covers this one
    };
    try {
      for (;;) {
        const { connection } = this;
        try {
          for await (const message of super.trainMessages({ ...request, trainingId, messagesTaken: BigInt(taken) }, signal)) {
            taken += 1;
            isOver = message.end !== undefined; // the reader reads no further
            if (isOver || performance.now() - confirmedAtMs > CONFIRM_EVERY_MS) confirm();
            yield message;
          }
          isOver = true;
          return;
        } catch (error) {
          if (!signal.aborted && isOfConnection(error) && (await this.isBackSince(connection, signal))) continue;
          isOver = !signal.aborted; // the engine has ended the training or will not come back
          throw error;
        }
      }
    } finally {
      // Ending the call is not enough: the engine would finish its segment and keep it.
      if (!isOver) void this.stopTraining(request.sessionId).catch(() => undefined);
    }
  }

  override putState(request: engineV1.PutStateRequest): Promise<string[]> {
    return this.onceBack(() => super.putState(request));
  }

  override async *heldState(outcome: TrainedSegment, from = 0): AsyncGenerator<Uint8Array> {
    for (let at = from; ;) {
      const { connection } = this;
      try {
        for await (const chunk of super.heldState(outcome, at)) {
          at += chunk.byteLength;
          yield chunk;
        }
        return;
      } catch (error) {
        if (!isOfConnection(error) || !(await this.isBackSince(connection))) throw error;
      }
    }
  }

  override releaseState(digest: string): Promise<void> {
    return this.onceBack(() => super.releaseState(digest));
  }

  override async onceBack<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (;;) {
      const { connection } = this;
      try {
        return await work();
      } catch (error) {
        if (signal?.aborted === true || !isOfConnection(error) || !(await this.isBackSince(connection, signal))) throw error;
      }
    }
  }

  /**
   * Tells whether the engine came back after `connection`. A call may fail before the loss of the connection is known, so this waits a
   * little first.
   */
  private async isBackSince(connection: number, signal = new AbortController().signal): Promise<boolean> {
    const isUndecided = (): boolean => this.away === null && this.connection === connection && !this.isGivenUp && !signal.aborted;
    for (let looks = 0; looks < LOOKS && isUndecided(); looks += 1) await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
    if (this.isGivenUp || signal.aborted) return false;
    if (this.away === null) return this.connection !== connection;
    const given = new Promise<boolean>((resolve) => signal.addEventListener('abort', () => resolve(false), { once: true }));
    return Promise.race([this.away.ends, given]);
  }

  override async measureSpeedTable(
    request: engineV1.MeasureSpeedTableRequest,
    signal: AbortSignal,
  ): Promise<engineV1.MeasureSpeedTableResponse> {
    return this.withOutline(request.modelPath, (modelPath) => super.measureSpeedTable({ ...request, modelPath }, signal));
  }

  override async planMemory(options: engineV1.SessionOptions): Promise<engineV1.PlanMemoryResponse> {
    return this.withOutline(options.modelPath, (modelPath) => super.planMemory({ ...options, modelPath }));
  }

  override async openSession(
    options: engineV1.SessionOptions,
    owner: string,
    patienceMs: number,
    signal?: AbortSignal,
  ): Promise<engineV1.OpenSessionResponse> {
    return super.openSession({ ...options, modelPath: await this.bring(options.modelPath, signal) }, owner, patienceMs);
  }

  override async *generate(request: engineV1.GenerateRequest, signal: AbortSignal): AsyncGenerator<engineV1.GenerateResponse> {
    const tokenizerPath = request.tokenizerPath && (await this.bring(request.tokenizerPath, signal));
    yield* super.generate({ ...request, tokenizerPath }, signal);
  }

  /**
   * Calls `use` with the name of the model's outline, and sends the outline first where it is needed. A new process of the engine, or one
   * that has seen many models since, no longer knows an outline.
   */
  private async withOutline<T>(modelPath: string, use: (name: string) => Promise<T>): Promise<T> {
    const files = await filesOfModel(modelPath);
    const marks = marksOf(files);
    const known = this.outlines.get(modelPath);
    if (known?.marks === marks) {
      try {
        return await use(known.name);
      } catch (error) {
        if (toEspalierError(error).code !== 'MODEL_NOT_OFFERED') throw error;
      }
    }
    const { modelPath: name } = await this.offerModel({ modelPath: '', files: await outlineOf(files) });
    this.outlines.set(modelPath, { marks, name });
    return use(name);
  }

  /** Sends the files that the engine's machine lacks. Returns the name by which requests name the model there. */
  private async bring(modelPath: string, signal?: AbortSignal): Promise<string> {
    const listed = await filesOfModel(modelPath);
    const files: engineV1.ModelFile[] = [];
    for (const file of listed) {
      signal?.throwIfAborted();
      files.push({ name: file.name, bytes: BigInt(file.bytes), digest: await digestOf(file), head: Buffer.alloc(0) });
    }
    const beganMs = performance.now();
    const tries = new Map<string, number>();
    let damage: EspalierError | null = null;
    try {
      for (;;) {
        const { modelPath: model, missing } = await this.offerModel({ modelPath, files }, signal);
        if (missing.length === 0) return model;
        const wanted = listed.filter(({ name }) => missing.includes(name));
        if (wanted.length === 0) throw new EspalierError('ENGINE_FAILED', 'the engine lacks files that the model does not have');
        const total = listed.reduce((sum, { bytes }) => sum + bytes, 0);
        let before = listed.reduce((sum, { name, bytes }) => sum + (missing.includes(name) ? 0 : bytes), 0);
        for (const file of wanted) {
          const tried = tries.get(file.name) ?? 0;
          if (tried === FILE_TRIES)
            throw damage ?? new EspalierError('ENGINE_FAILED', `the engine got ${file.name} ${tried} times and says that it lacks it`);
          const error = await this.sendFile(model, file, (here) => this.onTransfer({ bytesHere: before + here, bytes: total }), signal);
          if (error?.code === 'MODEL_FILES_BUSY') {
            if (performance.now() - beganMs > BUSY_MAX_MS) throw error;
            await sleep(BUSY_PAUSE_MS, undefined, { signal });
            break;
          }
          tries.set(file.name, tried + 1);
          damage = error;
          if (error !== null) break;
          before += file.bytes;
        }
      }
    } finally {
      this.onTransfer(null);
    }
  }

  /** Sends a file. Returns the error after which the file may be sent again, or null. */
  private async sendFile(
    model: string,
    file: ModelFile,
    onHere: (bytes: number) => void,
    signal?: AbortSignal,
  ): Promise<EspalierError | null> {
    try {
      await sendModelFile(this.beginModelFile(), { model, file, onHere, ...(signal === undefined ? {} : { signal }) });
      return null;
    } catch (error) {
      const known = toEspalierError(error);
      if (['MODEL_FILES_BUSY', 'MODEL_FILE_DAMAGED'].includes(known.code)) return known;
      throw error;
    }
  }
}
