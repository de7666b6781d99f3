// Perplexity of a run's model on its validation data, by the engine.
import { mkdtemp, rm } from 'node:fs/promises';
import { createWriteStream } from 'node:fs';
import { dirname, join } from 'node:path';
import { mkdir } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { tmpdir } from 'node:os';
import { decodeExportManifest, type ArtifactStore, type ExportManifestFile } from '#artifact-store';
import { engineV1, EspalierError } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { perplexityOver } from '../pruning-run/record/measures.js';
import type { StateFact } from '../pruning-run/record/pruning-run.events.js';
import type { RecordEvaluation } from '../pruning-run/aggregate/run-change.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';

/** The state or export to evaluate. */
export type Subject =
  | { kind: 'intact' }
  | { kind: 'masked'; state: StateFact; teacherMark: number | null }
  | { kind: 'export'; exportDigest: string; step: number; stateDigest: string; teacherMark: number | null };

export interface EvaluationRequest {
  run: PruningRunState;
  subject: Subject;
  window: number;
  /** Token shard. */
  dataDigest: string;
}

export async function evaluate(
  bench: EngineWorkbench,
  artifacts: Pick<ArtifactStore, 'open' | 'get'>,
  request: EvaluationRequest,
  onProgress: (doneShare: number) => void,
  signal: AbortSignal,
): Promise<RecordEvaluation> {
  const { run, subject, window, dataDigest } = request;
  const tokens = artifacts.open(dataDigest);
  const common = { window, computeDtype: engineV1.ComputeDtype.COMPUTE_DTYPE_F32 };
  if (subject.kind === 'export') {
    const files = decodeExportManifest(await artifacts.get(subject.exportDigest));
    const outcome = await withExportFolder(artifacts, files, (modelPath) =>
      bench.engine.client.evaluate({ ...common, sessionId: '', modelPath, intact: false }, tokens, onProgress, signal),
    );
    return recorded(request, `export:${subject.exportDigest}`, subject.step, subject.stateDigest, subject.teacherMark, outcome);
  }
  await bench.bringModel(run);
  const intact = subject.kind === 'intact';
  if (subject.kind === 'masked') await bench.bringState(run, subject.state);
  const outcome = await bench.engine.client.evaluate(
    { ...common, sessionId: bench.sessionId, modelPath: '', intact },
    tokens,
    onProgress,
    signal,
  );
  return subject.kind === 'masked'
    ? recorded(request, 'masked', subject.state.step, subject.state.stateDigest, subject.teacherMark, outcome)
    : recorded(request, 'intact', 0, null, null, outcome);
}

function recorded(
  { window, dataDigest }: EvaluationRequest,
  subject: RecordEvaluation['subject'],
  step: number,
  stateDigest: string | null,
  teacherMark: number | null,
  outcome: engineV1.EvaluationOutcome,
): RecordEvaluation {
  const { perplexity, negativeLogLikelihood } = outcome;
  if (!Number.isFinite(perplexity) || !Number.isFinite(negativeLogLikelihood)) {
    throw new EspalierError('EVALUATION_NOT_FINITE', `the negative log-likelihood is ${negativeLogLikelihood}: the model is broken`);
  }
  return {
    kind: 'recordEvaluation',
    subject,
    step,
    stateDigest,
    teacherMark,
    ...perplexityOver(window),
    value: perplexity,
    stderr: null,
    n: Number(outcome.predictions),
    details: { negativeLogLikelihood },
    dataDigest,
  };
}

/** The files of an export as a folder, for as long as it is used. */
export async function withExportFolder<T>(
  artifacts: Pick<ArtifactStore, 'open'>,
  files: ExportManifestFile[],
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'espalier-export-'));
  try {
    for (const file of files) {
      const path = join(folder, file.name);
      await mkdir(dirname(path), { recursive: true });
      await pipeline(artifacts.open(file.digest), createWriteStream(path));
    }
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
