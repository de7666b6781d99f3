// The meaning of an engine's failure for the run: try again on a new attempt, or give up since it would fail again.
import type { ServiceError } from '@grpc/grpc-js';
import { EspalierError, fromServiceError } from '#protocol';

/** Failures of the connection or the process: the request was not at fault. */
const lossStatuses = new Set(['UNAVAILABLE', 'CANCELLED', 'DEADLINE_EXCEEDED', 'UNKNOWN', 'ABORTED', 'INTERNAL']);
const transientCodes = new Set([
  'ENGINE_LOST',
  'ENGINE_LEFT',
  'ENGINE_HUNG',
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
  'INTERNAL',
  'EVENT_STORE_UNAVAILABLE',
  'EVENT_STORE_FAILED',
  'WRONG_EXPECTED_REVISION',
  'CONFLICTING_CHANGES',
  // of a bucket: no attempt begins before it answers again
  'ARTIFACT_STORE_UNAVAILABLE',
  'ARTIFACT_STORE_BUSY',
  'ARTIFACT_STORE_DENIED',
  'ARTIFACT_STORE_NOT_FOUND',
  'ARTIFACT_STORE_CLOCK',
  'READER_LOST',
]);

export function engineError(error: ServiceError): EspalierError {
  const known = fromServiceError(error);
  // It was told to end, and said so when this call was on its way: the run goes on elsewhere.
  if (known.code === 'SHUTTING_DOWN') return new EspalierError('ENGINE_LEFT', 'the engine is about to end', { cause: error });
  // Without details of our own only the name of the status is known: the engine died before it sent more.
  if (lossStatuses.has(known.code)) {
    const code = known.code === 'INTERNAL' ? 'ENGINE_FAILED' : 'ENGINE_LOST';
    return new EspalierError(code, `the engine did not finish: ${known.message}`, { cause: error });
  }
  return known;
}

/** Another attempt may succeed: the request did not cause the error, or the cause is not known. */
export function isTransient(error: EspalierError): boolean {
  return transientCodes.has(error.code);
}
