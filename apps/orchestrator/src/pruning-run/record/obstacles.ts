// An obstacle keeps a run from going on until a user removes it. The run waits, paused, and loses nothing. A cause that no user can remove
// fails the run.
import type { Obstacle } from '#audit';

const MENDABLE = new Set([
  'NUMERICS_CHANGED', // accept the other numerics, or bring back the engine with the old ones
  // The model's folder no longer holds the model that the run was launched with.
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
  // An artifact is missing and can't be made again: a folder is not mounted, or a text was changed.
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
  // The machine lacks something: memory, libraries, disks, or other programs take them.
  'OUT_OF_MEMORY',
  'READER_LOST',
  'BACKEND_UNSUPPORTED',
  'IO_ERROR',
  'ENGINE_DISK_FULL',
  'ENGINE_UNAVAILABLE',
  'ENGINE_LOST',
  'ENGINE_LEFT',
  'ENGINE_HUNG',
  'ENGINE_SILENT',
  'RESULT_CONTRADICTS_STATE',
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

export const isMendable = ({ code }: Pick<Obstacle, 'code'>): boolean => MENDABLE.has(code);

/** Ends the message about a lost state. `commandToGoOn` reads the teacher from it. */
export function lastWholeTeacherWords(teacher: { mark: number; state: { step: number } } | undefined): string {
  if (teacher === undefined)
    return 'no teacher before it is whole either: put the file of a state back from a backup, or launch another run';
  return `the last whole teacher before it is ${teacher.mark}, at step ${teacher.state.step}`;
}

/**
 * The command that lets a run go on after its obstacle is removed or accepted. A run whose state is lost goes on from a teacher, since it
 * would meet the same damage again.
 */
export function commandToGoOn(runId: string, { code, message }: Pick<Obstacle, 'code' | 'message'>): string {
  const [, mark] = /the last whole teacher before it is (\d+), at step \d+$/.exec(message) ?? [];
  if (mark !== undefined) return `espalier resume ${runId} --from-teacher ${mark}`;
  return `espalier resume ${runId}${code === 'NUMERICS_CHANGED' ? ' --accept-other-numerics' : ''}`;
}
