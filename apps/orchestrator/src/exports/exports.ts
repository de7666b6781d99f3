// Exports a run's model for other programs into the artifact store. Each file is an artifact, and so is the manifest that names them.
import { targetWords } from '#comparison';
import { encodeExportManifest, type ArtifactStore, type ExportManifestFile } from '#artifact-store';
import { engineV1, EspalierError, visibleText } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { typeInBlocks } from '../pruning-run/method/gguf-types.js';
import type { RunSettings, StateFact } from '../pruning-run/record/pruning-run.events.js';
import type { RecordExport } from '../pruning-run/aggregate/run-change.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { ExportChoice } from './export-formats.js';
import { proofText, proveExport } from './export-proof.js';
import { speedNotes } from './export-speed.js';
import { findQuantizer, isQuantizedType, quantized } from './quantizer.js';
import type { StateKeeper } from '../retention/state-keeper.js';

export interface ExportRequest extends ExportChoice {
  run: PruningRunState;
  state: StateFact;
  teacherMark: number | null;
  skipProof: boolean;
}

/** The shares of the progress at which the engine has written the export, and at which it is stored. The rest is the proof. */
const WRITING_SHARE = 0.5;
const STORED_SHARE = 0.6;

/** Exports a model. The caller releases the pinned artifacts once the event that names them is recorded. */
export async function exportModel(
  bench: EngineWorkbench,
  artifacts: ArtifactStore,
  keeper: StateKeeper,
  request: ExportRequest,
  pinned: string[],
  onProgress: (doneShare: number) => void,
  signal: AbortSignal,
): Promise<RecordExport> {
  const { run, state, form, format, multipleOf, teacherMark } = request;
  // a missing quantizer must be found before the engine does any work
  const quantizer = isQuantizedType(request.dtype) ? await findQuantizer() : null;
  const { model } = await bench.bringModel(run);
  await bench.bringState(run, state);
  const messages = bench.engine.client.exportModel(
    { ...request.engine, sessionId: bench.sessionId, multipleOf, modelCard: modelCard(request) },
    signal,
  );
  // Another run may have an equal file and be deleted at the same time, so the digest is pinned before the bytes are stored.
  const beforeNamed = async (digest: string): Promise<void> => {
    pinned.push(digest);
    await keeper.pin(digest);
  };
  const store = async (content: AsyncIterable<Uint8Array> | Uint8Array, name: string): Promise<ExportManifestFile> => {
    return { name, ...(await artifacts.put(content, { beforeNamed })) };
  };
  const quantizing: string[] = [];
  const storeQuantized: typeof store = (content, name) =>
    quantizer === null || content instanceof Uint8Array || !name.endsWith('.gguf')
      ? store(content, name)
      : store(
          quantized(content, request.dtype, quantizer, bench.threads, signal, (note) => quantizing.push(note)),
          name,
        );
  const stored = await storeFiles(messages[Symbol.asyncIterator](), storeQuantized, (share) => onProgress(share * WRITING_SHARE));
  onProgress(STORED_SHARE);
  const { files, outcome } = stored;
  const dtype = request.dtype || model!.dtype;
  const contextLength = Number(outcome.contextLength);
  const proof = request.skipProof
    ? undefined
    : await proveExport(bench, artifacts, { run, format, dtype: dtype.toLowerCase(), contextLength, files }, signal);
  const ownNotes = [...quantizing, ...typeNotes(run.settings, dtype), ...speedNotes(format, model!, outcome)];
  const notes = [...outcome.notes, ...ownNotes];
  const text = stored.readme + ownNotes.map((note) => `- ${note}\n`).join('') + (proof ? proofText(proof) : '');
  files.push(await store(Buffer.from(text), README));
  const manifest = await store(encodeExportManifest(files), 'manifest');
  return {
    kind: 'recordExport',
    exportDigest: manifest.digest,
    form,
    dtype,
    step: state.step,
    stateDigest: state.stateDigest,
    teacherMark,
    parameterCount: Number(outcome.parameterCount),
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    files,
    made: {
      format,
      multipleOf,
      architecture: outcome.architecture,
      contextLength,
      hiddenSize: Number(outcome.hiddenSize),
      layers: outcome.layers.map((one) => ({
        heads: Number(one.heads),
        kvHeads: Number(one.kvHeads),
        units: Number(one.intermediate),
      })),
      notes,
    },
    ...(proof && { proof }),
  };
}

/** Returns a note where the run was pruned to a number of bytes in one type, and the export has another type. */
export function typeNotes(settings: Pick<RunSettings, 'targetBytes' | 'budgetDtype'>, dtype: string): string[] {
  const { targetBytes, budgetDtype } = settings;
  if (targetBytes === 0 || budgetDtype === 'model' || dtype.toLowerCase() === budgetDtype) return [];
  const options = `${typeInBlocks(settings) === null ? '' : '--format gguf '}--dtype ${budgetDtype}`;
  return [`The run was pruned to bytes in ${budgetDtype}, and this export is in ${dtype.toLowerCase()}: use ${options} for the budget.`];
}

const README = 'README.md';

/**
 * Stores the files that the engine sends one after another in one stream, in which a name starts the next file. The README is returned,
 * since it is completed before it is stored.
 */
async function storeFiles(
  messages: AsyncIterator<engineV1.ExportModelResponse>,
  store: (content: AsyncIterable<Uint8Array>, name: string) => Promise<ExportManifestFile>,
  onProgress: (doneShare: number) => void,
): Promise<{ files: ExportManifestFile[]; readme: string; outcome: engineV1.ExportedModel }> {
  const files: ExportManifestFile[] = [];
  let readme = '';
  let outcome: engineV1.ExportedModel | undefined;
  let head = await messages.next();
  while (!head.done) {
    const { fileName } = head.value;
    if (head.value.doneShare > 0) onProgress(head.value.doneShare);
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
    if (fileName === README) {
      for await (const chunk of content()) readme += Buffer.from(chunk).toString();
    } else {
      files.push(await store(content(), fileName));
    }
  }
  if (outcome === undefined || files.length === 0) throw new EspalierError('ENGINE_FAILED', 'the engine ended an export without a result');
  return { files, readme, outcome };
}

/** The text of the README. Control characters in names and paths are made visible, since the text may be printed on a terminal. */
export function modelCard({ run, state, form, format }: Pick<ExportRequest, 'run' | 'state' | 'form' | 'format'>): string {
  const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)}%`;
  return [
    `# ${run.name || run.runId}`,
    '',
    `Pruned by Espalier from \`${run.model.path}\` (weights ${run.model.weightsDigest}).`,
    '',
    `- run ${run.runId}, step ${state.step}, state ${state.stateDigest}`,
    `- recipe ${run.settings.recipe}, ` +
      (run.budget === undefined
        ? `target sparsity ${percent(run.settings.targetSparsity)}, reached ${percent(state.hardSparsity)} of the prunable parameters`
        : `target ${targetWords(run.settings)}, ${percent(state.hardSparsity)} of that of the intact model are gone`),
    `- format ${format}, form ${form}`,
    '',
  ]
    .map(visibleText)
    .join('\n');
}
