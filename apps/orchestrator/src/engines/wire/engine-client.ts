// The client of one engine process over espalier.engine.v1. Calls return promises, and bytes go in and out as plain arrays.
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { engineV1, EspalierError } from '#protocol';
import { EngineCalls, STALL_MS } from './engine-calls.js';
import { checkHealth } from './engine-health.js';
import { scoreBatches, type ScoredBatch, type TokenBatch } from './score-call.js';
import { required, requiredState, short, stateOf } from './received-answers.js';
import { send, stateUpload, type StateOrigin } from './sent-data.js';
import { tokenUpload, type TokenStore } from './training-tokens.js';
import type { TokenSource } from '../../pruning-run/record/pruning-run.events.js';
import type { EndedSegment, TrainedSegment, TrainingProgress } from './training-progress.js';

export type { EndedSegment, TrainedSegment, TrainingProgress } from './training-progress.js';

/** Reading the weights takes as long as the disk needs. */
const INSPECTION_TIMEOUT_MS = 1_800_000;
const MEASUREMENT_TIMEOUT_MS = 3_600_000;
/** A large state on a slow way to the bucket. */
const STATE_TIMEOUT_MS = 3_600_000;

/** All calls of an engine. Tests replace them by a script. */
export type EngineApi = Pick<EngineClient, keyof EngineClient>;

/** Every method rejects with an EspalierError: the engine's own code, or ENGINE_LOST when it does not answer. */
export class EngineClient extends EngineCalls {
  /**
   * Does work that asks the engine. An engine that has dialled in may be cut off meanwhile: if it comes back within its lease, the work is
   * done again, from its beginning. @param _signal ends the wait for an engine that is cut off
   */
  onceBack<T>(work: () => Promise<T>, _signal?: AbortSignal): Promise<T> {
    return work();
  }

  async checkHealth(timeoutMs: number): Promise<void> {
    await checkHealth(this.client.getChannel(), timeoutMs);
  }

  async describe(timeoutMs = 10_000): Promise<engineV1.DescribeEngineResponse> {
    return short(await this.unary(this.client.describeEngine, {}, timeoutMs), 'DescribeEngineResponse');
  }

  async claim(request: engineV1.ClaimEngineRequest, timeoutMs: number): Promise<void> {
    await this.unary(this.client.claimEngine, request, timeoutMs);
  }

  async release(claim: string, timeoutMs: number): Promise<void> {
    await this.unary(this.client.releaseEngine, { claim }, timeoutMs);
  }

  /** @param skipWeights whether to leave out what takes time: the weights' digest, and whether they are finite */
  async inspectModel(
    modelPath: string,
    { skipWeights, signal }: { skipWeights: boolean; signal?: AbortSignal },
  ): Promise<engineV1.ModelDescription> {
    const { model } = await this.unary(this.client.inspectModel, { modelPath, skipWeights }, INSPECTION_TIMEOUT_MS, signal);
    return required(model, 'InspectModelResponse.model');
  }

  async describeState(request: engineV1.DescribeStateRequest): Promise<engineV1.DescribeStateResponse> {
    return this.unary(this.client.describeState, request, STATE_TIMEOUT_MS);
  }

  async measureSpeedTable(request: engineV1.MeasureSpeedTableRequest, signal: AbortSignal): Promise<engineV1.MeasureSpeedTableResponse> {
    return this.unary(this.client.measureSpeedTable, request, MEASUREMENT_TIMEOUT_MS, signal);
  }

  /** Offers a model to the engine, which may have to read all of the model's files on its disk. */
  protected async offerModel(request: engineV1.OfferModelRequest, signal?: AbortSignal): Promise<engineV1.OfferModelResponse> {
    return this.unary(this.client.offerModel, request, INSPECTION_TIMEOUT_MS, signal);
  }

  protected beginModelFile(): ClientDuplexStream<engineV1.SendModelFileRequest, engineV1.SendModelFileResponse> {
    return this.client.sendModelFile();
  }

  async planMemory(options: engineV1.SessionOptions): Promise<engineV1.PlanMemoryResponse> {
    return short(await this.unary(this.client.planMemory, { options }, 600_000), 'PlanMemoryResponse');
  }

  /**
   * @param patienceMs the time in which an engine that has the model's files opens it
   * @param _signal ends the sending of files that must come first; only engines on other machines need them
   */
  async openSession(
    options: engineV1.SessionOptions,
    owner: string,
    patienceMs: number,
    _signal?: AbortSignal,
  ): Promise<engineV1.OpenSessionResponse> {
    return short(await this.unary(this.client.openSession, { options, owner, replace: true }, patienceMs), 'OpenSessionResponse');
  }

  async closeSession(sessionId: string): Promise<void> {
    await this.unary(this.client.closeSession, { sessionId }, 30_000);
  }

  /** @param readsFiles whether the engine reads shards from files of this machine where they are in files; other shards are sent */
  async loadTrainingTokens(sessionId: string, text: readonly TokenSource[], artifacts: TokenStore, readsFiles = false): Promise<void> {
    await this.upload(this.client.loadTrainingTokens, ...tokenUpload(sessionId, text, artifacts, readsFiles));
  }

  async initialiseState(request: engineV1.InitialiseStateRequest): Promise<engineV1.StateSummary> {
    const { state } = await this.unary(this.client.initialiseState, request, 120_000);
    return requiredState(state, 'InitialiseStateResponse.state');
  }

  async importState(sessionId: string, digest: string, from: StateOrigin): Promise<engineV1.StateSummary> {
    const { state } = await this.upload<engineV1.ImportStateRequest, engineV1.ImportStateResponse>(
      this.client.importState,
      ...stateUpload(sessionId, digest, from),
    );
    return requiredState(state, 'ImportStateResponse.state');
  }

  /** Loads a teacher, and returns the digests of the teachers that the engine holds now. */
  async loadTeacher(sessionId: string, digest: string, from: StateOrigin): Promise<string[]> {
    const { teacherDigests } = await this.upload<engineV1.LoadTeacherRequest, engineV1.LoadTeacherResponse>(
      this.client.loadTeacher,
      ...stateUpload(sessionId, digest, from),
    );
    return teacherDigests;
  }

  /** The engine writes parts of a state that it holds. Returns the bucket's answers, in the order of the parts. */
  async putState(request: engineV1.PutStateRequest): Promise<string[]> {
    const { etags } = await this.unary(this.client.putState, request, STATE_TIMEOUT_MS);
    return etags;
  }

  /** The bytes of a state that the engine holds, as many as it has announced. */
  async *heldState({ state: { digest }, stateBytes }: TrainedSegment, from = 0): AsyncGenerator<Uint8Array> {
    const call = this.client.sendState({ digest, offset: BigInt(from) });
    const stall = new AbortController();
    const giveUp = (): void =>
      stall.abort(new EspalierError('ENGINE_SILENT', `the engine sent no bytes of a state for ${STALL_MS / 1_000} s`));
    let timer = setTimeout(giveUp, STALL_MS);
    let at = from;
    try {
      for await (const { chunk } of this.stream<engineV1.SendStateResponse>(call, stall.signal)) {
        clearTimeout(timer); // the reader may wait for a disk
        at += chunk.byteLength;
        if (at > Number(stateBytes))
          throw new EspalierError('ENGINE_FAILED', `the engine announced a state of ${stateBytes} bytes and sent more`);
        yield chunk;
        timer = setTimeout(giveUp, STALL_MS);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async releaseState(digest: string): Promise<void> {
    await this.unary(this.client.releaseState, { digest }, 10_000);
  }

  /**
   * Trains. An aborted signal, and a reader that stops reading, end the training at the next step boundary. Fails where the engine reports
   * other steps than those that were asked for, each in its turn.
   */
  async *train(request: engineV1.TrainRequest, signal: AbortSignal): AsyncGenerator<TrainingProgress> {
    const messages = this.trainMessages(request, signal);
    const endStep = request.firstStep + BigInt(request.loraLearningRate.length);
    let nextStep = request.firstStep;
    for await (const { steps, segments, end, calibratedShare } of messages) {
      for (const { step } of steps) {
        if (step !== nextStep || step >= endStep)
          throw new EspalierError('ENGINE_FAILED', `the engine reported step ${step} after step ${nextStep - 1n}, of ${endStep} in all`);
        nextStep += 1n;
      }
      if (calibratedShare > 0) yield { kind: 'calibrated', share: calibratedShare };
      let first = 0;
      for (const segment of segments) {
        const outcome = { ...segment, state: required(segment.state, 'SegmentOutcome.state') };
        const next = steps.findIndex(({ step }, index) => index >= first && step >= outcome.state.step);
        const last = next === -1 ? steps.length : next;
        if (last > first) yield { kind: 'steps', steps: steps.slice(first, last) };
        first = last;
        yield { kind: 'segment', segment: { outcome, state: await stateOf(messages, outcome, request.stateFile) } };
      }
      if (steps.length > first) yield { kind: 'steps', steps: steps.slice(first) };
      if (end === undefined) continue;
      yield { kind: 'end', end };
      return;
    }
    throw new EspalierError('ENGINE_FAILED', 'the engine ended a training without saying where it got');
  }

  protected trainMessages(request: engineV1.TrainRequest, signal: AbortSignal): AsyncGenerator<engineV1.TrainResponse> {
    return this.stream(this.client.train(request), signal);
  }

  protected async confirmTraining(request: engineV1.ConfirmTrainingRequest): Promise<void> {
    await this.unary(this.client.confirmTraining, request, 10_000);
  }

  async trainSegment(
    request: engineV1.TrainRequest,
    signal: AbortSignal,
  ): Promise<EndedSegment & { steps: engineV1.StepReport[]; teacherDigests: string[] }> {
    const steps: engineV1.StepReport[] = [];
    let segment: EndedSegment | undefined;
    let teacherDigests: string[] = [];
    for await (const progress of this.train(request, signal)) {
      if (progress.kind === 'steps') for (const step of progress.steps) steps.push(step);
      else if (progress.kind === 'segment') segment = progress.segment;
      else if (progress.kind === 'end') teacherDigests = progress.end.teacherDigests;
    }
    return { ...required(segment, 'TrainResponse.segments'), steps, teacherDigests };
  }

  async stopTraining(sessionId: string, finishSegment = false): Promise<void> {
    await this.unary(this.client.stopTraining, { sessionId, finishSegment }, 10_000);
  }

  async setReportInterval(sessionId: string, reportIntervalMs: number): Promise<void> {
    await this.unary(this.client.setReportInterval, { sessionId, reportIntervalMs }, 10_000);
  }

  async evaluate(
    request: Partial<Omit<engineV1.EvaluateRequest, 'tokens'>>,
    tokens: AsyncIterable<Uint8Array>,
    onProgress: (doneShare: number) => void,
    signal: AbortSignal,
  ): Promise<engineV1.EvaluationOutcome> {
    const call = this.client.evaluate();
    const sending = send(call, tokens, (chunk, first) =>
      engineV1.EvaluateRequest.fromPartial({ ...(first ? request : {}), tokens: Buffer.from(chunk) }),
    );
    let sendingError: unknown;
    sending.catch((error: unknown) => {
      // such as a damaged artifact: the engine waits for tokens that never come
      sendingError = error;
      call.cancel();
    });
    let outcome: engineV1.EvaluationOutcome | undefined;
    try {
      for await (const message of this.stream<engineV1.EvaluateResponse>(call, signal)) {
        onProgress(message.doneShare);
        outcome = message.outcome ?? outcome;
      }
    } catch (error) {
      throw sendingError ?? error;
    }
    return required(outcome, 'EvaluateResponse.outcome');
  }

  /** Scores the batches in their order. The next batches are made while one is computed. */
  async *score(
    request: Pick<engineV1.ScoreRequest, 'sessionId' | 'modelPath' | 'intact' | 'computeDtype'>,
    batches: AsyncIterable<TokenBatch>,
    onProgress: (batchShare: number) => void,
    signal: AbortSignal,
  ): AsyncGenerator<ScoredBatch> {
    const call = this.client.score();
    yield* scoreBatches(call, this.stream<engineV1.ScoreResponse>(call, signal), request, batches, onProgress);
  }

  generate(request: engineV1.GenerateRequest, signal: AbortSignal): AsyncIterable<engineV1.GenerateResponse> {
    return this.stream(this.client.generate(request), signal);
  }

  measureSpeed(request: engineV1.MeasureSpeedRequest, signal: AbortSignal): AsyncIterable<engineV1.MeasureSpeedResponse> {
    return this.stream(this.client.measureSpeed(request), signal);
  }

  exportModel(request: engineV1.ExportModelRequest, signal: AbortSignal): AsyncIterable<engineV1.ExportModelResponse> {
    return this.stream(this.client.exportModel(request), signal);
  }
}
