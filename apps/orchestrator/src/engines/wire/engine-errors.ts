// Decides what an engine's failure means for the run: try again with a new attempt, or give up since the run would fail again.
import type { ServiceError } from '@grpc/grpc-js';
import { EspalierError, fromServiceError } from '#protocol';

/** Statuses that mean a failure of the connection or the process. The request was not at fault. */
const lossStatuses = new Set(['UNAVAILABLE', 'CANCELLED', 'DEADLINE_EXCEEDED', 'UNKNOWN', 'ABORTED', 'INTERNAL']);
const transientCodes = new Set([
  'ENGINE_LOST',
  'ENGINE_LEFT',
  'ENGINE_HUNG',
  'ENGINE_SILENT',
  'RESULT_CONTRADICTS_STATE', // the engine is set aside, so the next attempt goes to another
  'ENGINE_FAILED',
  'ENGINE_UNAVAILABLE',
  'ENGINE_BUSY',
  'DEVICE_LOST',
  'ENGINE_ATTACHED_ELSEWHERE',
  'SESSION_NOT_FOUND',
  'TRAINING_NOT_KEPT',
  'MODEL_NOT_OFFERED',
  'MODEL_FILES_BUSY',
  'MODEL_FILE_DAMAGED',
  'MODEL_CACHE_FULL',
  'MODEL_CACHE_UNUSABLE',
  'ENGINE_DISK_FULL',
  'OUT_OF_MEMORY', // the launch found room for the run, so other processes hold it, such as the previous engine, which is about to end
  'INTERNAL',
  'EVENT_STORE_UNAVAILABLE',
  'EVENT_STORE_FAILED',
  'WRONG_EXPECTED_REVISION',
  'CONFLICTING_CHANGES',
  // errors of a bucket: no attempt begins before the bucket answers again
  'ARTIFACT_STORE_UNAVAILABLE',
  'ARTIFACT_STORE_BUSY',
  'ARTIFACT_STORE_DENIED',
  'ARTIFACT_STORE_NOT_FOUND',
  'ARTIFACT_STORE_CLOCK',
  'READER_LOST',
]);

/** The engine got nothing of the call, so it can be made again elsewhere. */
export class EngineNotReachedError extends EspalierError {
  constructor(cause: unknown) {
    super('ENGINE_LOST', 'the engine could not be reached: its process has ended, or it does not answer at its address', { cause });
  }
}

/** The beginning of gRPC's own text for a call that found no connection to send it on. */
const NO_CONNECTION = 'No connection established';

const LOSS_WORDS: Partial<Record<string, string>> = {
  UNAVAILABLE: 'the connection to the engine broke before it had answered',
  CANCELLED: 'the call to the engine was cancelled before it had answered',
  DEADLINE_EXCEEDED: 'the engine did not answer in time',
};

const LOSS_CODES: Partial<Record<string, string>> = { INTERNAL: 'ENGINE_FAILED', DEADLINE_EXCEEDED: 'ENGINE_SILENT' };

export function engineError(error: ServiceError): EspalierError {
  const known = fromServiceError(error);
  // The engine was told to end and said so while this call was on its way. The run goes on elsewhere.
  if (known.code === 'SHUTTING_DOWN') return new EspalierError('ENGINE_LEFT', 'the engine is about to end', { cause: error });
  // Without Espalier's own details only the status is known: the engine died before it sent more.
  if (lossStatuses.has(known.code)) {
    if (known.code === 'UNAVAILABLE' && known.message.startsWith(NO_CONNECTION)) return new EngineNotReachedError(error);
    const words = LOSS_WORDS[known.code] ?? `the engine did not finish: ${known.message}`;
    return new EspalierError(LOSS_CODES[known.code] ?? 'ENGINE_LOST', words, { cause: error });
  }
  return known;
}

/** Tells whether another attempt may succeed: the request did not cause the error, or the cause is not known. */
export function isTransient(error: EspalierError): boolean {
  return transientCodes.has(error.code);
}
