// The fork that a request asks for, before it is recorded. A fork and the plan of a fork both begin here, so both have the same settings
// and the same refusals.
import type { ArtifactStore } from '#artifact-store';
import { EspalierError } from '#protocol';
import { decide, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { Fork } from '../pruning-run/aggregate/starting-points.js';
import { lastWholeTeacherWords } from '../pruning-run/record/obstacles.js';
import { expected } from '../pruning-run/run-repository.js';
import { lastWholeTeacher } from '../retention/whole-teachers.js';

/** The fork as it would be. @throws the errors by which `decide` refuses the fork */
export const forkedRun = (change: Fork): PruningRunState => expected(null, decide(null, change, new Date().toISOString()))!;

/**
 * @param pinned the states that were kept from removal before the fork was read; undefined: none were
 * @throws EspalierError STATE_NOT_FOUND if the state that the fork starts from is gone
 */
export async function requireStart(fork: PruningRunState, artifacts: ArtifactStore, pinned?: readonly string[]): Promise<void> {
  const { current, origin } = fork;
  if (current === null || origin === null || (await artifacts.stat(current.stateDigest)) !== null) return;
  const { stateDigest, step } = current;
  const { parentRunId } = origin;
  const state = `state ${stateDigest.slice(0, 12)} of run ${parentRunId}`;
  if (pinned?.includes(stateDigest) === false)
    throw new EspalierError('STATE_NOT_FOUND', `${state} is no longer stored: the run went on; try again`);
  // Nothing has removed the state since, so it is lost, and trying again would meet the same loss.
  const whole = await lastWholeTeacher(artifacts, fork, step);
  const start = whole === undefined ? '' : `: espalier fork ${parentRunId} --from-teacher ${whole.mark}`;
  throw new EspalierError('STATE_NOT_FOUND', `${state} is missing in the artifact store; ${lastWholeTeacherWords(whole)}${start}`);
}
