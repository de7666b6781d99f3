// Recovers a run whose artifact is missing or damaged. Nothing is lost while the sources of the artifact exist: a state is trained again
// from a whole state before it, and tokens are made again from their text. Both come out with the same bits.
import type { ArtifactCondition, ArtifactStore } from '#artifact-store';
import { EspalierError, toEspalierError } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { statesToFallBackTo } from '../pruning-run/aggregate/starting-points.js';
import { lastWholeTeacherWords } from '../pruning-run/record/obstacles.js';
import { lastWholeTeacher } from '../retention/whole-teachers.js';
import { tokenShards } from '../pruning-run/record/training-tokens.js';
import type { AttemptParts } from './attempt-parts.js';

const DAMAGE = new Set(['ARTIFACT_MISSING', 'ARTIFACT_CORRUPT', 'STATE_CORRUPT']);

/** Returns the error if it says that an artifact is damaged. @throws any other error as it is */
export function damageOrThrow(error: unknown): EspalierError {
  const known = toEspalierError(error);
  if (!DAMAGE.has(known.code)) throw error;
  return known;
}

/**
 * Reads the state that an engine calls damaged. If it is whole, another engine tries it. @throws EspalierError
 * ENGINE_FAILED
 */
export async function requireDamage(
  { artifacts, endsRun }: Pick<AttemptParts, 'artifacts' | 'endsRun'>,
  run: PruningRunState,
  step: number,
  damage: EspalierError,
): Promise<void> {
  const state = statesToFallBackTo(run).find((one) => one.step === step);
  if (state === undefined || endsRun() || (await artifacts.verify(state.stateDigest)) !== 'ok') return;
  throw new EspalierError('ENGINE_FAILED', `the engine calls a whole state damaged: ${damage.message}`, { cause: damage });
}

/**
 * The digest of the latest whole state before `step`, or null for the fresh state that follows from the seed. @throws the damage when no
 * state is whole
 */
export async function wholeStateBefore(
  artifacts: Pick<ArtifactStore, 'verify'>,
  run: PruningRunState,
  step: number,
  damage: EspalierError,
): Promise<string | null> {
  for (const { stateDigest } of statesToFallBackTo(run).filter((state) => state.step < step)) {
    if ((await artifacts.verify(stateDigest)) === 'ok') return stateDigest;
  }
  if (run.origin === null) return null;
  throw new EspalierError(
    damage.code,
    `a state of run ${run.runId} is damaged, and no earlier one of this fork is whole: ${damage.message}; ` +
      lastWholeTeacherWords(await lastWholeTeacher(artifacts, run, step)),
  );
}

/** Calls `use`. If that meets damaged tokens, makes them again and calls it once more. */
export async function withTokens<T>(
  { artifacts, modelAndData, log, shutdown }: Pick<AttemptParts, 'artifacts' | 'modelAndData' | 'log' | 'shutdown'>,
  run: PruningRunState,
  part: 'train' | 'validation',
  use: () => Promise<T>,
): Promise<T> {
  try {
    return await use();
  } catch (error) {
    const found = damageOrThrow(error);
    const shards = part === 'train' ? tokenShards(run.data).map((shard) => shard.digest) : [run.data.validationDigest ?? ''];
    const conditions = new Map<string, ArtifactCondition>();
    for (const digest of new Set(shards)) conditions.set(digest, await artifacts.verify(digest));
    const damaged = [...conditions.keys()].filter((digest) => conditions.get(digest) !== 'ok');
    const [first] = damaged;
    if (first === undefined) throw error; // something else than the tokens is damaged
    // The check decides what is wrong: an engine that reads a file of tokens by itself only says that it can't.
    const code = conditions.get(first) === 'missing' ? 'ARTIFACT_MISSING' : 'ARTIFACT_CORRUPT';
    const damage = new EspalierError(code, found.message, { cause: found });
    log.error({ runId: run.runId, code, damaged }, `the ${part} tokens are damaged; making them again from their text`);
    await modelAndData.remakeTokens(run, part, { damage, damaged }, shutdown);
    return await use();
  }
}
