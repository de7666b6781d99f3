// Looks for a teacher to start from where a later state is lost.
import type { ArtifactCondition, ArtifactStore } from '#artifact-store';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { Teacher } from '../pruning-run/aggregate/pruning-run.state.js';

/** The latest teacher up to a step whose state is whole, those that the run inherited included. */
export async function lastWholeTeacher(
  artifacts: Pick<ArtifactStore, 'verify'>,
  { teachers }: Pick<PruningRunState, 'teachers'>,
  step: number,
): Promise<Teacher | undefined> {
  const conditions = new Map<string, ArtifactCondition>(); // several marks can share a state
  for (const teacher of teachers.filter(({ state }) => state.step <= step).reverse()) {
    const { stateDigest } = teacher.state;
    if (!conditions.has(stateDigest)) conditions.set(stateDigest, await artifacts.verify(stateDigest));
    if (conditions.get(stateDigest) === 'ok') return teacher;
  }
  return undefined;
}
