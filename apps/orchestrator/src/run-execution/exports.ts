// A run's model as a Hugging Face folder in the artifact store: each file an artifact, and a manifest that names them.
import { encodeExportManifest, type ArtifactStore, type ExportManifestFile } from '#artifact-store';
import { engineV1, EspalierError } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { StateFact } from '../pruning-run/record/pruning-run.events.js';
import type { RecordExport } from '../pruning-run/aggregate/run-change.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { StateKeeper } from '../retention/state-keeper.js';

export interface ExportRequest {
  run: PruningRunState;
  state: StateFact;
  teacherMark: number | null;
  form: 'masked' | 'compacted';
  dtype: string; // '' : as the source
}

const forms = { masked: engineV1.ExportForm.EXPORT_FORM_MASKED, compacted: engineV1.ExportForm.EXPORT_FORM_COMPACTED };

/** The pinned artifacts are released by the caller, once the event that names them is recorded. */
export async function exportModel(
  bench: EngineWorkbench,
  artifacts: ArtifactStore,
  keeper: StateKeeper,
  request: ExportRequest,
  pinned: string[],
  signal: AbortSignal,
): Promise<RecordExport> {
  const { run, state, form, teacherMark } = request;
  const { model } = await bench.bringModel(run);
  await bench.bringState(run, state);
  const messages = bench.engine.client.exportModel(
    { sessionId: bench.sessionId, form: forms[form], dtype: request.dtype, modelCard: modelCard(request) },
    signal,
  );
  const { files, outcome } = await storeFiles(artifacts, keeper, messages[Symbol.asyncIterator](), pinned);
  const manifest = await artifacts.put(encodeExportManifest(files));
  return {
    kind: 'recordExport',
    exportDigest: manifest.digest,
    form,
    dtype: request.dtype || model!.dtype,
    step: state.step,
    stateDigest: state.stateDigest,
    teacherMark,
    parameterCount: Number(outcome.parameterCount),
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    files,
  };
}

/** The engine sends one file after the other in one stream; a name starts the next. */
async function storeFiles(
  artifacts: ArtifactStore,
  keeper: StateKeeper,
  messages: AsyncIterator<engineV1.ExportModelResponse>,
  pinned: string[],
): Promise<{ files: ExportManifestFile[]; outcome: engineV1.ExportedModel }> {
  const files: ExportManifestFile[] = [];
  let outcome: engineV1.ExportedModel | undefined;
  let head = await messages.next();
  while (!head.done) {
    const { fileName } = head.value;
    if (head.value.outcome) outcome = head.value.outcome;
    if (fileName === '') {
      head = await messages.next();
      continue;
    }
    const content = async function* (): AsyncGenerator<Uint8Array> {
      if (!head.done && head.value.chunk.length > 0) yield head.value.chunk;
      for (head = await messages.next(); !head.done && head.value.fileName === '' && !head.value.outcome; head = await messages.next()) {
        yield head.value.chunk;
      }
    };
    const { digest, bytes } = await artifacts.put(content());
    await keeper.pin(digest);
    pinned.push(digest);
    files.push({ name: fileName, bytes, digest });
  }
  if (outcome === undefined || files.length === 0) throw new EspalierError('ENGINE_FAILED', 'the engine ended an export without a result');
  return { files, outcome };
}

function modelCard({ run, state, form }: ExportRequest): string {
  const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)}%`;
  return [
    `# ${run.name || run.runId}`,
    '',
    `Pruned by Espalier from \`${run.model.path}\` (weights ${run.model.weightsDigest}).`,
    '',
    `- run ${run.runId}, step ${state.step}, state ${state.stateDigest}`,
    `- recipe ${run.settings.recipe}, target sparsity ${percent(run.settings.targetSparsity)}, ` +
      `reached ${percent(state.hardSparsity)} of the prunable parameters`,
    `- form ${form}: ` +
      (form === 'masked' ? 'masks folded in and LoRA merged, shapes as in the source' : 'closed heads, units and hidden units removed'),
    '',
  ].join('\n');
}
