// espalier.engine.v1 over the native engine: requests in, results out; no rules of pruning live here.
import { readFileSync } from 'node:fs';
import { engineV1, invalidField, releaseOf } from '#protocol';
import { chosenDevice, describeEngine, describeState, inspectModel, numericsFingerprint } from '#native-engine';
import { evaluate } from './calls/evaluate.js';
import { exportModel } from './calls/export-model.js';
import { generate, measureSpeed, measureTable } from './calls/generate.js';
import { bidirectional, clientStreaming, serverStreaming, unary } from './calls/stream-handlers.js';
import { sessionOptions } from './calls/protocol-messages.js';
import { KeptTrainings } from './training/kept-trainings.js';
import type { EngineServiceParts } from './service-parts.js';
import { withArrivingState } from './states/arriving-state.js';
import type { HeldStates } from './states/held-states.js';
import { score } from './calls/score.js';
import { withReceivedText } from './training/training-text.js';
import { TurnQueue } from './turn-queue.js';
import { TRAINING, trainSegments, type Training } from './training/train-call.js';

/** Each reads a model folder on a thread of its own, beside the training. */
const INSPECTIONS_AT_ONCE = 2;

export function engineService(parts: EngineServiceParts): engineV1.EngineServiceServer {
  const { holder, lease, models, held, onFailure, log } = parts;
  const training: Training = { progress: null };
  const finishSegment = (): void => holder.finishWork(TRAINING);
  const kept = new KeptTrainings({ finishSegment, leaseLeftMs: () => lease.leftMs, log });
  const inspections = new TurnQueue(INSPECTIONS_AT_ONCE);
  return {
    describeEngine: unary(() => describe(parts)),
    claimEngine: unary(async (request: engineV1.ClaimEngineRequest) => {
      if (lease.claim(request)) {
        kept.discard('another claim holds');
        held.clear();
        await holder.clear();
      }
      return {};
    }),
    releaseEngine: unary(async ({ claim }: engineV1.ReleaseEngineRequest) => {
      if (lease.release(claim)) {
        kept.discard('the engine was given back');
        held.clear();
        await holder.clear();
      }
      return {};
    }),
    inspectModel: unary(async ({ modelPath, skipWeights }: engineV1.InspectModelRequest, signal) => {
      if (modelPath === '') throw invalidField('FIELD_REQUIRED', 'model_path', 'is empty: a model folder is required');
      const folder = models.folderOf(modelPath);
      return { model: await inspections.run(() => inspectModel(folder, !skipWeights, signal), signal) };
    }),
    describeState: unary(async ({ modelPath, stateFile }: engineV1.DescribeStateRequest, signal) => {
      return { state: await describeState(modelPath, stateFile, signal) };
    }),
    planMemory: unary(async ({ options }: engineV1.PlanMemoryRequest, signal) => {
      const session = sessionOptions(options, parts);
      const plan = await inspections.run(() => holder.plan(session, signal), signal);
      return { ...plan, numericsFingerprint: numericsFingerprint(session) };
    }),
    offerModel: unary((request: engineV1.OfferModelRequest, signal) => models.offer(request, signal)),
    sendModelFile: bidirectional(
      (requests: AsyncIterable<engineV1.SendModelFileRequest>, signal) => models.receive(requests, signal),
      onFailure,
    ),
    openSession: unary((request: engineV1.OpenSessionRequest) => {
      if (request.replace) kept.discard('another session is opened');
      return openSession(parts, request);
    }),
    closeSession: unary(async ({ sessionId }: engineV1.CloseSessionRequest) => {
      await holder.close(sessionId);
      return {};
    }),
    ...uploadHandlers(parts),
    initialiseState: unary(async ({ sessionId, seed, shape, closed }: engineV1.InitialiseStateRequest, signal) => {
      const { session } = holder.require(sessionId);
      return { state: await holder.exclusive('InitialiseState', () => session.initialise(seed, shape, closed), signal) };
    }),
    train: serverStreaming((request: engineV1.TrainRequest, signal) => {
      const begin = (stop: AbortSignal) => trainSegments(parts, training, request, stop);
      return request.trainingId === '' ? begin(signal) : kept.messages(request, signal, begin);
    }),
    confirmTraining: unary(({ trainingId, messagesTaken }: engineV1.ConfirmTrainingRequest) => {
      kept.taken(trainingId, Number(messagesTaken));
      return Promise.resolve({});
    }),
    ...stateHandlers(held),
    stopTraining: unary(async ({ sessionId, finishSegment }: engineV1.StopTrainingRequest) => {
      holder.require(sessionId);
      if (finishSegment) holder.finishWork(TRAINING);
      else {
        kept.stopUnread();
        await holder.stopWork(TRAINING);
      }
      return {};
    }),
    setReportInterval: unary(({ sessionId, reportIntervalMs }: engineV1.SetReportIntervalRequest) => {
      holder.require(sessionId);
      training.progress?.setGatherMs(reportIntervalMs);
      return Promise.resolve({});
    }),
    evaluate: bidirectional((requests: AsyncIterable<engineV1.EvaluateRequest>, signal) => evaluate(parts, requests, signal), onFailure),
    score: bidirectional((requests: AsyncIterable<engineV1.ScoreRequest>, signal) => score(parts, requests, signal), onFailure),
    generate: serverStreaming((request: engineV1.GenerateRequest, signal) => generate(parts, request, signal)),
    measureSpeed: serverStreaming((request: engineV1.MeasureSpeedRequest, signal) => measureSpeed(parts, request, signal)),
    measureSpeedTable: unary((request: engineV1.MeasureSpeedTableRequest, signal) => measureTable(parts, request, signal)),
    exportModel: serverStreaming((request: engineV1.ExportModelRequest, signal) => exportModel(request, signal)),
  };
}

function uploadHandlers(
  parts: EngineServiceParts,
): Pick<engineV1.EngineServiceServer, 'loadTrainingTokens' | 'importState' | 'loadTeacher'> {
  const { onFailure } = parts;
  return {
    loadTrainingTokens: clientStreaming(
      (requests: AsyncIterable<engineV1.LoadTrainingTokensRequest>, signal) => loadTokens(parts, requests, signal),
      onFailure,
    ),
    importState: clientStreaming(
      (requests: AsyncIterable<engineV1.ImportStateRequest>, signal) => importState(parts, requests, signal),
      onFailure,
    ),
    loadTeacher: clientStreaming(
      (requests: AsyncIterable<engineV1.LoadTeacherRequest>, signal) => loadTeacher(parts, requests, signal),
      onFailure,
    ),
  };
}

function stateHandlers(held: HeldStates): Pick<engineV1.EngineServiceServer, 'putState' | 'sendState' | 'releaseState'> {
  return {
    putState: unary(async (request: engineV1.PutStateRequest) => ({ etags: await held.put(request) })),
    sendState: serverStreaming(async function* ({ digest, offset }: engineV1.SendStateRequest) {
      yield* held.chunks(digest, Number(offset));
    }),
    releaseState: unary(({ digest }: engineV1.ReleaseStateRequest) => {
      held.release(digest);
      return Promise.resolve({});
    }),
  };
}

function describe({ holder, lease, version, device, threads }: EngineServiceParts): Promise<engineV1.DescribeEngineResponse> {
  const { build, devices } = describeEngine();
  const chosen = chosenDevice(device);
  return Promise.resolve({
    engineVersion: version,
    build,
    backend: chosen.name,
    device: severalWords(device, chosen.model),
    instructionSet: chosen.instructionSet,
    threads: threads || chosen.threads,
    memoryAvailableBytes: chosen.memoryAvailableBytes,
    devices,
    sessionId: holder.sessionId,
    residentBytes: BigInt(process.memoryUsage.rss()),
    holder: lease.holder,
    heldForMs: lease.leftMs,
    bootId: bootId(),
    pid: process.pid,
    release: releaseOf(version),
  });
}

/** The devices of one engine are alike, and compute the steps of a run together. */
function severalWords(device: string, model: string): string {
  const count = device.split('+').length;
  return count === 1 ? model : `${count} x ${model}`;
}

/** '' where the kernel tells none. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

async function openSession(parts: EngineServiceParts, request: engineV1.OpenSessionRequest): Promise<engineV1.OpenSessionResponse> {
  const options = sessionOptions(request.options, parts);
  const { id, session, memory } = await parts.holder.open(options, request.owner, request.replace);
  const { numericsFingerprint } = session;
  parts.models.keepOnly(request.options?.modelPath ?? '');
  return {
    sessionId: id,
    model: session.model,
    numericsFingerprint,
    memory: { ...memory, numericsFingerprint },
    teachersKept: session.teachersKept,
  };
}

function loadTokens(
  { holder, scratch }: EngineServiceParts,
  requests: AsyncIterable<engineV1.LoadTrainingTokensRequest>,
  signal: AbortSignal,
): Promise<engineV1.LoadTrainingTokensResponse> {
  const check = ({ sessionId }: engineV1.LoadTrainingTokensRequest): void => void holder.require(sessionId);
  return withReceivedText(scratch, requests, check, async (sessionId, sources) => {
    const { session } = holder.require(sessionId);
    const rows = await holder.exclusive('LoadTrainingTokens', () => session.setData(sources), signal);
    const tokens = sources.flatMap(({ files }) => files).reduce((sum, file) => sum + file.tokens, 0);
    return { tokenCount: BigInt(tokens), rowCount: BigInt(rows) };
  });
}

function importState(
  parts: EngineServiceParts,
  requests: AsyncIterable<engineV1.ImportStateRequest>,
  signal: AbortSignal,
): Promise<engineV1.ImportStateResponse> {
  const { holder } = parts;
  const check = ({ sessionId }: engineV1.ImportStateRequest): void => void holder.require(sessionId);
  return withArrivingState(parts, requests, check, async ({ sessionId, stateFile, digest }, path) => {
    const { session } = holder.require(sessionId);
    // The digest of bytes that were received has been compared already, and a file's has not.
    const work = () => session.importState(path, stateFile === '' ? '' : digest);
    return { state: await holder.exclusive('ImportState', work, signal) };
  });
}

function loadTeacher(
  parts: EngineServiceParts,
  requests: AsyncIterable<engineV1.LoadTeacherRequest>,
  signal: AbortSignal,
): Promise<engineV1.LoadTeacherResponse> {
  const { holder } = parts;
  const check = ({ digest, sessionId }: engineV1.LoadTeacherRequest): void => {
    if (digest === '') throw invalidField('FIELD_REQUIRED', 'digest', 'is empty: it is the name of the teacher');
    holder.require(sessionId);
  };
  return withArrivingState(parts, requests, check, async ({ sessionId, stateFile, digest }, path) => {
    const { session } = holder.require(sessionId);
    const work = () => session.loadTeacher(digest, path, stateFile !== '');
    return { teacherDigests: await holder.exclusive('LoadTeacher', work, signal) };
  });
}
