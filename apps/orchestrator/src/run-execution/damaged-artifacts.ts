// The recovery of a run whose artifact is missing or damaged. Nothing is lost while the sources of the artifact are there: a state is
// trained again from a whole one before it, tokens are made again from their text, and both have the same bits.
import type { ArtifactCondition, ArtifactStore } from '#artifact-store';
import { EspalierError, toEspalierError } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { statesToFallBackTo } from '../pruning-run/aggregate/starting-points.js';
import { tokenShards } from '../pruning-run/record/training-tokens.js';
import type { AttemptParts } from './attempt-parts.js';

const DAMAGE = new Set(['ARTIFACT_MISSING', 'ARTIFACT_CORRUPT', 'STATE_CORRUPT']);

/** The error, if an artifact is damaged. @throws any other error as it is */
export function damageOrThrow(error: unknown): EspalierError {
  const known = toEspalierError(error);
  if (!DAMAGE.has(known.code)) throw error;
  return known;
}

/** Digest of the latest whole state before `step`; null: the fresh state of the seed. @throws the damage, when no state is whole */
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
      `fork run ${run.origin.parentRunId} again`,
  );
}

/** Does `use`; when that meets damage, makes the tokens again and does it once more. */
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
    const shards = part === 'train' ? tokenShards(run.data).map((shard) => shard.digest) : [run.data.validationDigest!];
    const conditions = new Map<string, ArtifactCondition>();
    for (const digest of new Set(shards)) conditions.set(digest, await artifacts.verify(digest));
    const damaged = [...conditions.keys()].filter((digest) => conditions.get(digest) !== 'ok');
    if (damaged.length === 0) throw error; // something else is damaged
    // An engine that reads a file of tokens itself says only that it can't.
    const code = conditions.get(damaged[0]!) === 'missing' ? 'ARTIFACT_MISSING' : 'ARTIFACT_CORRUPT';
    const damage = new EspalierError(code, found.message, { cause: found });
    log.error({ runId: run.runId, code, damaged }, `the ${part} tokens are damaged; making them again from their text`);
    await modelAndData.remakeTokens(run, part, { damage, damaged }, shutdown);
    return await use();
  }
}
