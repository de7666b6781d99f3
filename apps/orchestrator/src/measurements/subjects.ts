// The states, exports and models that clients ask an engine about: how a request chooses one of a run, how the engine gets it, and how the
// record names it.
import { decodeExportManifest, type ArtifactStore } from '#artifact-store';
import { EspalierError, invalidField, type engineV1, type v1 } from '#protocol';
import type { JobWish } from '../engine-pool/engine-jobs.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { artifactDiscarded, findDiscard } from '../pruning-run/aggregate/discarding.js';
import { RunError, runDeleted } from '../pruning-run/aggregate/pruning-run.errors.js';
import { isPrepared, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/pruning-run.decisions.js';
import { digestStartingWith, requireDigestPrefix } from '../pruning-run/aggregate/short-digests.js';
import type { StateFact } from '../pruning-run/record/pruning-run.events.js';
import type { RunRepository } from '../pruning-run/run-repository.js';
import { withArtifactFiles } from './artifact-files.js';

export type Subject =
  | { kind: 'intact' }
  | { kind: 'masked'; state: StateFact; teacherMark: number | null }
  | { kind: 'export'; exportDigest: string; step: number; stateDigest: string; teacherMark: number | null };

/** The intact model with single weights set to 0. */
interface SingleWeights {
  kind: 'unstructured';
  importance: 'magnitude' | 'wanda';
  sparsity: number;
}
/** A model that is measured without a run: always as it is, `intact`. */
export interface ModelAlone {
  runId: '';
  model: Pick<PruningRunState['model'], 'path' | 'weightsDigest' | 'architecture' | 'vocabularySize' | 'maxPositions'>;
  data: { tokenizerDigest: ''; textColumn?: string };
  evaluations: PruningRunState['evaluations'];
  discarded: [];
}
export type Measurable = PruningRunState | ModelAlone;

export type MeasuredSubject = Subject | SingleWeights;

/** @throws RunError RUN_NOT_STARTED */
export async function loadPrepared(runs: Pick<RunRepository, 'load'>, runId: string): Promise<PruningRunState> {
  const run = await runs.load(runId);
  if (!isPrepared(run)) throw new RunError('RUN_NOT_STARTED', `run ${runId} is not prepared yet`, run, 'run_id');
  return run;
}

export function stateOf(run: PruningRunState, mark: number | undefined): { state: StateFact; mark: number | null } {
  if (run.status === 'deleted') throw runDeleted(run);
  if (mark !== undefined) {
    const teacher = run.teachers.find((one) => one.mark === mark);
    const gone = findDiscard(run, ({ marks }) => marks.includes(mark));
    if (teacher === undefined && gone !== null) throw artifactDiscarded(run, gone, 'teacher_mark');
    if (teacher === undefined)
      throw new RunError(
        'TEACHER_NOT_FOUND',
        `run ${run.runId} has no teacher ${mark}: it has ${run.teachers.length}`,
        run,
        'teacher_mark',
      );
    return { state: teacher.state, mark };
  }
  if (run.current === null) throw new RunError('RUN_NOT_STARTED', `run ${run.runId} has no recorded state yet`, run, 'run_id');
  return { state: run.current, mark: null };
}

type NamedSubject = Pick<v1.EvaluateRunRequest, 'intact' | 'exportDigest' | 'teacherMark'>;

/** Chooses the subject of a perplexity. Unlike other measurements, it may also be the intact model with single weights set to 0. */
export function measuredSubjectOf(
  run: PruningRunState,
  request: NamedSubject & Pick<v1.EvaluateRunRequest, 'unstructured'>,
): MeasuredSubject {
  const { unstructured, intact, exportDigest, teacherMark } = request;
  if (unstructured === undefined) return subjectOf(run, request);
  if (run.status === 'deleted') throw runDeleted(run);
  if (intact || exportDigest !== '' || teacherMark !== undefined)
    throw invalidField('REQUEST_INVALID', 'unstructured', 'name one of unstructured, intact, export_digest and teacher_mark');
  return singleWeights(unstructured, run.settings.targetSparsity);
}

function singleWeights({ importance, sparsity }: v1.Unstructured, targetSparsity: number): SingleWeights {
  if (importance !== 'magnitude' && importance !== 'wanda')
    throw invalidField('FIELD_UNKNOWN_VALUE', 'unstructured.importance', `must be magnitude or wanda, is "${importance}"`);
  const share = sparsity ?? targetSparsity;
  if (share < 0 || share >= 1) throw invalidField('FIELD_OUT_OF_RANGE', 'unstructured.sparsity', `must be from 0 to below 1, is ${share}`);
  return { kind: 'unstructured', importance, sparsity: share };
}

export function subjectOf(run: PruningRunState, { intact, exportDigest, teacherMark }: NamedSubject): Subject {
  const named = [intact, exportDigest !== '', teacherMark !== undefined].filter(Boolean).length;
  if (run.status === 'deleted') throw runDeleted(run);
  if (named > 1) throw invalidField('REQUEST_INVALID', 'intact', 'name one of intact, export_digest and teacher_mark');
  if (intact) return { kind: 'intact' };
  if (exportDigest !== '') {
    const digest = digestStartingWith(
      requireDigestPrefix(exportDigest, 'export_digest'),
      run.exports.map((one) => one.exportDigest),
      'export_digest',
    );
    const known = run.exports.find((one) => one.exportDigest === digest);
    if (known === undefined) {
      throw new EspalierError('EXPORT_NOT_FOUND', `run ${run.runId} has no export ${exportDigest}`, {
        violations: [
          {
            field: 'export_digest',
            description: `one of ${run.exports.map((one) => one.exportDigest).join(', ') || 'none so far'}`,
            code: 'EXPORT_NOT_FOUND',
          },
        ],
      });
    }
    const gone = findDiscard(run, (artifact) => artifact.digest === known.exportDigest);
    if (gone !== null) throw artifactDiscarded(run, gone, 'export_digest');
    const { step, stateDigest, teacherMark: mark } = known;
    return { kind: 'export', exportDigest: known.exportDigest, step, stateDigest, teacherMark: mark };
  }
  const { state, mark } = stateOf(run, teacherMark);
  return { kind: 'masked', state, teacherMark: mark };
}

/** The facts that the placement needs of a job on the subject, and the artifacts that must stay until it ends. */
export function jobOn(
  subject: MeasuredSubject,
  { runId, exports }: Pick<PruningRunState, 'runId' | 'exports'>,
  doing: string,
): { wish: JobWish; pinned: string[] } {
  return {
    wish: { runId, needsOurFiles: subject.kind === 'export', doing: `${doing} of run ${runId}` },
    pinned: pinnedFor(subject, exports),
  };
}

/** The same of work that is on no run, and reads files of this server. */
export const wishWithoutRun = (doing: string): JobWish => ({ runId: '', needsOurFiles: true, doing });

function pinnedFor(subject: MeasuredSubject, exports: PruningRunState['exports']): string[] {
  if (subject.kind === 'masked') return [subject.state.stateDigest];
  if (subject.kind !== 'export') return [];
  const files = exports.find(({ exportDigest }) => exportDigest === subject.exportDigest)?.files ?? [];
  return [subject.exportDigest, ...files.map(({ digest }) => digest)];
}

/** The fields by which the engine knows a model. */
export type EngineModel = Pick<engineV1.EvaluateRequest, 'sessionId' | 'modelPath' | 'intact'>;

/** Gives the engine the subject for as long as `use` runs. */
export async function withSubject<T>(
  bench: EngineWorkbench,
  artifacts: Pick<ArtifactStore, 'open' | 'get' | 'pathOf'>,
  run: Measurable,
  subject: MeasuredSubject,
  use: (model: EngineModel) => Promise<T>,
): Promise<T> {
  if (subject.kind === 'export') {
    const files = decodeExportManifest(await artifacts.get(subject.exportDigest));
    return withArtifactFiles(artifacts, files, (modelPath) => use({ sessionId: '', modelPath, intact: false }));
  }
  if (!isRun(run)) return use({ sessionId: '', modelPath: run.model.path, intact: false });
  await bench.bringModel(run);
  if (subject.kind === 'masked') await bench.bringState(run, subject.state);
  if (subject.kind === 'unstructured' && subject.importance === 'wanda') await bench.bringTokens(run);
  return use({ sessionId: bench.sessionId, modelPath: '', intact: subject.kind !== 'masked' });
}

export const isRun = (run: Measurable): run is PruningRunState => 'settings' in run;

/**
 * The numerics by which a subject was evaluated, as far as a session tells them: an export and a model without a run are evaluated without
 * one.
 */
export function numericsOf(
  bench: EngineWorkbench,
  run: Measurable,
  subject: MeasuredSubject,
): Pick<RecordEvaluation, 'numericsFingerprint'> {
  return subject.kind === 'export' || !isRun(run) ? {} : { numericsFingerprint: bench.numericsFingerprint };
}

export function recordedSubject(subject: MeasuredSubject): Pick<RecordEvaluation, 'subject' | 'step' | 'stateDigest' | 'teacherMark'> {
  switch (subject.kind) {
    case 'intact':
      return { subject: 'intact', step: 0, stateDigest: null, teacherMark: null };
    case 'unstructured':
      return { subject: `unstructured:${subject.importance}:${subject.sparsity}`, step: 0, stateDigest: null, teacherMark: null };
    case 'masked': {
      const { step, stateDigest } = subject.state;
      return { subject: 'masked', step, stateDigest, teacherMark: subject.teacherMark };
    }
    case 'export': {
      const { exportDigest, step, stateDigest, teacherMark } = subject;
      return { subject: `export:${exportDigest}`, step, stateDigest, teacherMark };
    }
  }
}
