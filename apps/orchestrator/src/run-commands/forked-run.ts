// The fork that a request asks for, before it is recorded. A fork and the plan of a fork both begin here, so both have the same settings
// and the same refusals.
import type { ArtifactStore } from '#artifact-store';
import { EspalierError } from '#protocol';
import { decide, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { Fork } from '../pruning-run/aggregate/run-change.js';
import { expected } from '../pruning-run/run-repository.js';

/** The fork as it would be. @throws the errors by which `decide` refuses the fork */
export const forkedRun = (change: Fork): PruningRunState => expected(null, decide(null, change, new Date().toISOString()))!;

/** @throws EspalierError STATE_NOT_FOUND if the state that the fork starts from is gone */
export async function requireStart(fork: PruningRunState, artifacts: ArtifactStore): Promise<void> {
  const { stateDigest } = fork.current!;
  if ((await artifacts.stat(stateDigest)) !== null) return;
  throw new EspalierError(
    'STATE_NOT_FOUND',
    `state ${stateDigest.slice(0, 12)} of run ${fork.origin!.parentRunId} is no longer stored: the run went on; try again`,
  );
}
