// Sends a training's reports and segments as messages. Its states go the way that the client asked for: in files, in the stream, or they
// are held until the client says where they go.
import { rm } from 'node:fs/promises';
import type { engineV1 } from '#protocol';
import { Batches } from '../calls/batches.js';
import { outcomeMessage, trainingOptions } from '../calls/protocol-messages.js';
import type { EngineServiceParts } from '../service-parts.js';
import { chunksOfState, stateInMemory, stateInSlices, type HandedState } from '../states/handed-state.js';
import { sumsOfParts } from '../states/held-states.js';
import { located, train, type LocatedSegment, type Progress } from './training.js';

/** The name of this work, for messages and for calls that stop it. */
export const TRAINING = 'Train';

/** Messages on their way to the client of the training under way. */
export interface Training {
  progress: Batches<Progress> | null;
}

export async function* trainSegments(
  { holder, held, scratch }: EngineServiceParts,
  training: Training,
  request: engineV1.TrainRequest,
  signal: AbortSignal,
): AsyncGenerator<engineV1.TrainResponse> {
  const { session } = holder.require(request.sessionId);
  const options = trainingOptions(request);
  options.steps.stateFolder = options.stateFile || scratch.newPath();
  const progress = new Batches<Progress>(request.reportIntervalMs);
  const files = new StateFiles();
  const onProgress = (items: Progress[]): void => {
    for (const item of items) if ('segment' in item) files.made(item.segment.stateFile);
    // A segment whose state is sent goes out at once. Memory holds two states at most, so a later segment waits until they are sent.
    progress.push(items, options.stateFile === '' && 'segment' in items[0]!);
  };
  const running = holder
    .exclusive(TRAINING, (stop, mayGoOn) => train(session, options, stop, mayGoOn, onProgress), signal)
    .finally(() => progress.end());
  // Awaited below, after the last report.
  void running.catch(() => undefined).then(() => (signal.aborted ? files.removeUntold() : undefined));
  training.progress = progress;
  const nothing = { steps: [], segments: [], stateChunk: Buffer.alloc(0), end: undefined, calibratedShare: 0 };
  for await (const batch of progress) {
    const steps = batch.flatMap((item) => ('step' in item ? [item.step] : []));
    const segments = await Promise.all(batch.flatMap((item) => ('segment' in item ? [located(item.segment)] : [])));
    if (!signal.aborted) for (const { stateFile } of segments) files.announced(stateFile);
    const calibrated = batch.findLast((item) => 'calibratedShare' in item);
    const outcomes: engineV1.SegmentOutcome[] = [];
    const sent: { state: HandedState; letGo: () => void }[] = [];
    for (const segment of segments) {
      const state = await handedState(segment);
      const partSums = state === null || request.holdInPartsOf === 0 ? [] : await sumsOfParts(state, request.holdInPartsOf);
      outcomes.push(outcomeMessage(segment, state?.slices ?? [], partSums));
      const isHeld = state !== null && (partSums.length > 0 || state.slices.length > 0);
      if (isHeld) held.hold(segment.result.state.digest, state, segment.letGo);
      else if (state !== null) sent.push({ state, letGo: segment.letGo });
      else segment.letGo();
    }
    yield { ...nothing, steps, segments: outcomes, calibratedShare: calibrated?.calibratedShare ?? 0 };
    for (const { state, letGo } of sent) {
      for await (const stateChunk of chunksOfState(state)) yield { ...nothing, stateChunk };
      letGo();
    }
  }
  const { stopped, teachers } = await running;
  yield { ...nothing, end: { stopped, teacherDigests: teachers } };
}

/** null: the state is in a file of the client's, or was not asked for. */
async function handedState({ result, stateFile }: LocatedSegment): Promise<HandedState | null> {
  if (stateFile !== '') return null;
  if (result.stateFolder !== '') return stateInSlices(result.stateFolder);
  return result.stateBytes === null ? null : stateInMemory(result.stateBytes);
}

/**
 * The files of states that are written for a client. A client that left before it was told of a file can't take it over, so the file is
 * removed.
 */
class StateFiles {
  private readonly all: Promise<string>[] = [];
  private readonly known = new Set<string>();

  made(file: Promise<string>): void {
    this.all.push(file);
  }

  announced(file: string): void {
    this.known.add(file);
  }

  async removeUntold(): Promise<void> {
    for (const file of await Promise.all(this.all))
      if (file !== '' && !this.known.has(file)) await rm(file, { recursive: true, force: true }).catch(() => undefined);
  }
}
