// Obstacles keep a run from going on until a user mends them. Such a run waits, paused, and loses nothing. A cause that no user can
// mend fails the run.
const MENDABLE = new Set([
  'NUMERICS_CHANGED', // accept the other numerics, or bring back the engine that had these
  // the model's folder no longer holds what the run was launched with
  'MODEL_NOT_FOUND',
  'MODEL_CHANGED',
  'MODEL_CORRUPT',
  'MODEL_CONFIG_INVALID',
  'MODEL_UNSUPPORTED',
  'ARCHITECTURE_UNSUPPORTED',
  'ROPE_UNSUPPORTED',
  'WEIGHTS_NOT_FOUND',
  'WEIGHTS_TRUNCATED',
  'WEIGHTS_CORRUPT',
  'WEIGHTS_SHAPE_MISMATCH',
  // an artifact that can't be made again from what is there: a folder that is not mounted, a text that was changed
  'ARTIFACT_MISSING',
  'ARTIFACT_CORRUPT',
  'STATE_CORRUPT',
  'ARTIFACT_STORE_FULL',
  'ARTIFACT_STORE_READ_ONLY',
  'ARTIFACT_STORE_UNAVAILABLE',
  'ARTIFACT_STORE_BUSY',
  'ARTIFACT_STORE_DENIED',
  'ARTIFACT_STORE_NOT_FOUND',
  'ARTIFACT_STORE_CLOCK',
  // the machine: its memory, its libraries, its disks, what else runs on it
  'OUT_OF_MEMORY',
  'READER_LOST',
  'BACKEND_UNSUPPORTED',
  'IO_ERROR',
  'ENGINE_UNAVAILABLE',
  'ENGINE_LOST',
  'ENGINE_LEFT',
  'ENGINE_HUNG',
  'ENGINE_BUSY',
  'DEVICE_LOST',
  'ENGINE_ATTACHED_ELSEWHERE',
  'ENGINE_OF_ANOTHER_USER',
  'TRAINING_NOT_KEPT',
  'MODEL_FILE_DAMAGED',
  'MODEL_CACHE_FULL',
  'MODEL_CACHE_UNUSABLE',
  'EVENT_STORE_UNAVAILABLE',
  'EVENT_STORE_FAILED',
]);

export interface Obstacle {
  code: string;
  message: string;
  field: string;
}

export const isMendable = ({ code }: Pick<Obstacle, 'code'>): boolean => MENDABLE.has(code);

/** The command that goes on with a run once its obstacle is gone, or accepted. */
export function commandToGoOn(runId: string, { code }: Pick<Obstacle, 'code'>): string {
  return `espalier resume ${runId}${code === 'NUMERICS_CHANGED' ? ' --accept-other-numerics' : ''}`;
}
