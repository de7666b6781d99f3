// Decides which artifacts of a run are removed when a user asks for free space. Later requests for a removed artifact are refused, with the
// reason. All functions are pure. The fact that names every digest is recorded first; the bytes are removed after it. An artifact that
// another run needs is never removed.
import { invalidRequest, type FieldViolation } from '#protocol';
import { artifactOf } from '../record/measures.js';
import type { DiscardedArtifact, NewFact, PruningRunEventData, StateFact } from '../record/pruning-run.events.js';
import { RunError, runDeleted, runStillActive } from './pruning-run.errors.js';
import { isFinished, isPrepared, isRunnable, type KnownDiscard, type PruningRunState } from './pruning-run.state.js';
import { tokenShards } from '../record/training-tokens.js';

/** The part that changes which remove artifacts share. Digests in `neededElsewhere` are needed by other runs and stay. */
interface GivesRoom {
  reason: string;
  neededElsewhere: ReadonlySet<string>;
}

export interface Discard extends GivesRoom {
  kind: 'discard';
  /** The artifacts to remove: all teachers but every n-th (null: no teacher), teachers of abandoned branches, and exports. */
  thinning: { keepEvery: number | null; abandoned: boolean; exports: boolean };
}

export interface Delete extends GivesRoom {
  kind: 'delete';
}

export type Thinning = Discard['thinning'];

/** Throws unless the run has ended or stands paused and does not resume by itself: only then may its bytes be removed. */
function requireStill(run: PruningRunState): void {
  if (run.status === 'deleted') throw runDeleted(run);
  const still = isFinished(run) || (run.status === 'paused' && !isRunnable(run) && !run.attemptOpen);
  if (!still) throw runStillActive(run, ': pause or cancel it first');
}

/** Removes all artifacts that only this run needs. The run's stream of events stays. */
export function remove(run: PruningRunState, { reason, neededElsewhere }: Delete, at: string): NewFact[] {
  if (run.status === 'deleted') return [];
  requireStill(run);
  const artifacts = artifactsOf(run).filter(({ digest }) => !neededElsewhere.has(digest));
  return [{ type: 'RunDeleted', at, data: { step: run.current?.step ?? 0, reason, artifacts } }];
}

export function discard(run: PruningRunState, change: Discard, at: string): NewFact[] {
  requireStill(run);
  const artifacts = thinned(run, change.thinning).filter(({ digest }) => !change.neededElsewhere.has(digest));
  if (artifacts.length === 0) return [];
  const { keepEvery, abandoned, exports } = change.thinning;
  return [{ type: 'ArtifactsDiscarded', at, data: { reason: change.reason, keepEvery, abandoned, exports, artifacts } }];
}

/** Reports a request that would remove nothing, and an interval of teachers that is out of range. */
export function thinningViolations({ keepEvery, abandoned, exports }: Thinning): FieldViolation[] {
  if (keepEvery !== null && !(Number.isInteger(keepEvery) && keepEvery >= 2))
    return [{ field: 'keep_every', description: `must be a whole number from 2 on, is ${keepEvery}`, code: 'FIELD_OUT_OF_RANGE' }];
  if (keepEvery === null && !abandoned && !exports)
    return [
      { field: 'keep_every', description: 'is needed, or abandoned or exports: else nothing is thrown away', code: 'FIELD_REQUIRED' },
    ];
  return [];
}

export function requireThinning(thinning: Thinning): void {
  const violations = thinningViolations(thinning);
  if (violations.length > 0) throw invalidRequest(violations);
}

/**
 * Returns the artifacts to remove: all teachers but every n-th and the last, teachers of abandoned branches, and exports, each if asked
 * for. The last state, the state that a fork began with and the states of the remaining exports always stay.
 */
export function thinned(run: PruningRunState, { keepEvery, abandoned, exports }: Thinning): DiscardedArtifact[] {
  const last = run.teachers.at(-1);
  const kept = run.teachers.filter((one) => keepEvery === null || one.mark % keepEvery === 0 || one === last);
  const keptExports = exports ? [] : run.exports.filter((one) => !isDiscarded(run, one.exportDigest));
  const staying = new Set([
    ...kept.map(({ state }) => state.stateDigest),
    ...(abandoned ? [] : run.abandonedTeachers.map(({ state }) => state.stateDigest)),
    ...keptExports.flatMap((one) => [one.stateDigest, one.exportDigest, ...one.files.map(({ digest }) => digest)]),
    ...[run.current, run.origin?.from].flatMap((state) => (state ? [state.stateDigest] : [])),
  ]);
  return artifactsOf(run).filter(({ kind, digest }) => kind !== 'tokens' && !staying.has(digest));
}

/** Every artifact that the run needs, each listed once. */
export function artifactsOf(run: PruningRunState): DiscardedArtifact[] {
  const found = new Map<string, DiscardedArtifact>();
  const add = (one: DiscardedArtifact): void => {
    const known = found.get(one.digest);
    if (known === undefined) found.set(one.digest, one);
    else known.marks.push(...one.marks);
  };
  const addState = ({ stateDigest, stateBytes, step }: StateFact, marks: number[] = []): void =>
    add({ kind: 'state', digest: stateDigest, bytes: stateBytes, step, marks });
  for (const { state, mark } of [...run.teachers, ...run.abandonedTeachers]) addState(state, [mark]);
  for (const state of [run.origin?.from, run.current, run.previous]) if (state) addState(state);
  for (const { exportDigest, files, step } of run.exports.filter((one) => !isDiscarded(run, one.exportDigest))) {
    add({ kind: 'export', digest: exportDigest, bytes: null, step, marks: [] });
    for (const { digest, bytes } of files) add({ kind: 'export', digest, bytes, step, marks: [] });
  }
  const { data } = run;
  const addTokens = (digest: string | null, bytes: number | null): void => {
    if (digest !== null) add({ kind: 'tokens', digest, bytes, step: null, marks: [] });
  };
  if (isPrepared(run)) for (const { digest, tokens } of tokenShards(data)) addTokens(digest, tokens * BYTES_OF_TOKEN);
  addTokens(data.validationDigest, data.validationTokens * BYTES_OF_TOKEN);
  for (const digest of run.evaluations.flatMap(artifactOf)) addTokens(digest, null);
  return [...found.values()];
}
const BYTES_OF_TOKEN = 4;

function isDiscarded({ discarded }: Pick<PruningRunState, 'discarded'>, digest: string): boolean {
  return discarded.some((one) => one.digest === digest);
}

// ---- how the facts change the run ----

export function afterDiscard(
  run: PruningRunState,
  { artifacts, reason }: PruningRunEventData<'ArtifactsDiscarded'>,
  revision: number,
): PruningRunState {
  const gone = new Set(artifacts.map(({ digest }) => digest));
  const stays = ({ state }: { state: StateFact }): boolean => !gone.has(state.stateDigest);
  return {
    ...run,
    teachers: run.teachers.filter(stays),
    abandonedTeachers: run.abandonedTeachers.filter(stays),
    previous: run.previous !== null && gone.has(run.previous.stateDigest) ? null : run.previous,
    discarded: [...run.discarded, ...artifacts.map((one) => ({ ...known(one), reason, revision }))],
  };
}

export function afterDelete(
  run: PruningRunState,
  { artifacts, reason }: PruningRunEventData<'RunDeleted'>,
  at: string,
  revision: number,
): PruningRunState {
  return {
    ...run,
    status: 'deleted',
    deleted: { at, reason },
    endedAt: run.endedAt ?? at,
    discarded: [...run.discarded, ...artifacts.map((one) => ({ ...known(one), reason, revision }))],
  };
}

const known = ({ kind, digest, marks, step }: DiscardedArtifact): Omit<KnownDiscard, 'reason' | 'revision'> => ({
  kind,
  digest,
  marks,
  step,
});

// ---- how requests learn of removed artifacts ----

export function findDiscard(run: Pick<PruningRunState, 'discarded'>, fits: (discard: KnownDiscard) => boolean): KnownDiscard | null {
  return run.discarded.findLast(fits) ?? null;
}

/** The error for a removed artifact. It names the event of the removal, so that a user who misses the bytes learns why they are gone. */
export function artifactDiscarded(
  run: Pick<PruningRunState, 'runId'>,
  discard: Pick<KnownDiscard, 'kind' | 'digest' | 'reason' | 'revision'>,
  field = '',
): RunError {
  const { kind, digest, reason, revision } = discard;
  const why = reason === '' ? '' : ` (${reason})`;
  return new RunError(
    'ARTIFACT_DISCARDED',
    `the ${kind} ${digest.slice(0, 12)} of run ${run.runId} was thrown away, as event ${revision} of the run says${why}`,
    run,
    field,
    { digest, revision: String(revision) },
  );
}
