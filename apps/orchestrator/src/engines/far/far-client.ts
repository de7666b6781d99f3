// The client of an engine on another machine, which may lack the models that requests name. It brings their files to the engine first
// (docs/design/model-files.md), so that no caller has to know where an engine is.
import { setTimeout as sleep } from 'node:timers/promises';
import { engineV1, toEspalierError, type EspalierError } from '#protocol';
import { EngineClient } from '../wire/engine-client.js';
import { FileDigests, filesOfModel, outlineOf, type ModelFile } from './model-listing.js';
import { sendModelFile } from './send-model-file.js';

/** While another engine of its machine receives the model. */
const BUSY_PAUSE_MS = 500;
/** A file that arrives with other bytes is sent again this number of times, no more. */
const DAMAGED_TRIES = 3;

/** Bytes of a model's files: those that are there, and all. */
export interface ModelTransfer {
  bytesHere: number;
  bytes: number;
}

/** For all engines of this process: a file is read once. */
const digests = new FileDigests();

const marksOf = (files: readonly ModelFile[]): string => files.map(({ name, mark }) => `${name} ${mark}`).join('\n');

export class FarEngineClient extends EngineClient {
  /** The names of outlines that the engine has, by the path of the model. */
  private readonly outlines = new Map<string, { marks: string; name: string }>();
  /** Called while files go to the engine; null: at the end. */
  onTransfer: (transfer: ModelTransfer | null) => void = () => undefined;

  override async inspectModel(
    modelPath: string,
    options: { skipWeights: boolean; signal?: AbortSignal },
  ): Promise<engineV1.ModelDescription> {
    if (!options.skipWeights) return super.inspectModel(await this.bring(modelPath, options.signal), options);
    return this.withOutline(modelPath, (name) => super.inspectModel(name, options));
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

  override async openSession(options: engineV1.SessionOptions, owner: string, signal?: AbortSignal): Promise<engineV1.OpenSessionResponse> {
    return super.openSession({ ...options, modelPath: await this.bring(options.modelPath, signal) }, owner);
  }

  override async *generate(request: engineV1.GenerateRequest, signal: AbortSignal): AsyncGenerator<engineV1.GenerateResponse> {
    const tokenizerPath = request.tokenizerPath && (await this.bring(request.tokenizerPath, signal));
    yield* super.generate({ ...request, tokenizerPath }, signal);
  }

  /** A process of the engine that has come anew, or that has seen many models since, knows the outline no more. */
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

  /** Sends what the engine's machine lacks. Returns how requests name the model there. */
  private async bring(modelPath: string, signal?: AbortSignal): Promise<string> {
    const listed = await filesOfModel(modelPath);
    const files: engineV1.ModelFile[] = [];
    for (const file of listed) {
      signal?.throwIfAborted();
      files.push({ name: file.name, bytes: BigInt(file.bytes), digest: await digests.of(file), head: Buffer.alloc(0) });
    }
    const damages = new Map<string, number>();
    try {
      for (;;) {
        const { modelPath: model, missing } = await this.offerModel({ modelPath, files }, signal);
        if (missing.length === 0) return model;
        const total = listed.reduce((sum, { bytes }) => sum + bytes, 0);
        let before = listed.reduce((sum, { name, bytes }) => sum + (missing.includes(name) ? 0 : bytes), 0);
        for (const file of listed.filter(({ name }) => missing.includes(name))) {
          const error = await this.sendFile(model, file, (here) => this.onTransfer({ bytesHere: before + here, bytes: total }), signal);
          if (error?.code === 'MODEL_FILES_BUSY') {
            await sleep(BUSY_PAUSE_MS, undefined, { signal });
            break;
          }
          if (error !== null) {
            const tries = (damages.get(file.name) ?? 0) + 1;
            damages.set(file.name, tries);
            if (tries >= DAMAGED_TRIES) throw error;
            break;
          }
          before += file.bytes;
        }
      }
    } finally {
      this.onTransfer(null);
    }
  }

  /** Returns the error after which the file may be sent again. */
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
