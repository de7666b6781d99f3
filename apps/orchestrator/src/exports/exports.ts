// Exports a run's model for other programs into the artifact store. Each file is an artifact, and so is the manifest that names them.
import { createReadStream } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { targetWords } from '#comparison';
import { encodeExportManifest, type ArtifactStore, type ExportManifestFile } from '#artifact-store';
import { type engineV1, EspalierError, visibleText } from '#protocol';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { typeInBlocks } from '../pruning-run/method/gguf-types.js';
import type { RunSettings, StateFact } from '../pruning-run/record/pruning-run.events.js';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { newExportFolder, withArtifactFiles } from '../measurements/artifact-files.js';
import type { ModelAlone } from '../measurements/subjects.js';
import type { ModelExportFact } from '../models/model.events.js';
import type { ExportChoice } from './export-formats.js';
import { proofText, proveExport } from './export-proof.js';
import { speedNotes } from './export-speed.js';
import { findQuantizer, isQuantizedType, quantized } from './quantizer.js';
import type { StateKeeper } from '../retention/state-keeper.js';

const README = 'README.md';
const STATE_FILE = 'state.safetensors';

/** A state of a run, or a model without a run as it is. */
export type Exported = { run: PruningRunState; state: StateFact } | { run: ModelAlone; state: null };
export type ExportRequest = ExportChoice & Exported & { skipProof: boolean };

/** The shares of the progress at which the export is written, and at which it is stored. The rest is the proof. */
const WRITING_SHARE = 0.5;
const STORED_SHARE = 0.6;

/** The parts of the server that an export needs beside the engine that computes for it. */
export interface ExportParts {
  /** Asks an engine of this installation. */
  askOwn: <T>(ask: (client: EngineApi) => Promise<T>) => Promise<T>;
  artifacts: ArtifactStore;
  keeper: StateKeeper;
  dataFolder: string;
}

/**
 * Exports a model. An engine of this installation writes its files, since users of an export run what is in them. The engine of the bench,
 * which may be another's, only takes part in the proof. The caller releases the pinned artifacts once the event with their names is there.
 */
export async function exportModel(
  parts: ExportParts,
  bench: EngineWorkbench,
  request: ExportRequest,
  pinned: string[],
  onProgress: (doneShare: number) => void,
  signal: AbortSignal,
): Promise<ModelExportFact> {
  const { artifacts, keeper, dataFolder } = parts;
  const { form, format, multipleOf } = request;
  // a missing quantizer must be found before the engine does any work
  const quantizer = isQuantizedType(request.dtype) ? await findQuantizer() : null;
  // Another run may have an equal file and be deleted at the same time, so the digest is pinned before the bytes are stored.
  const beforeNamed = async (digest: string): Promise<void> => {
    pinned.push(digest);
    await keeper.pin(digest);
  };
  const store = async (content: AsyncIterable<Uint8Array> | Uint8Array, name: string): Promise<ExportManifestFile> => {
    return { name, ...(await artifacts.put(content, { beforeNamed })) };
  };
  const folder = await newExportFolder();
  try {
    const written = join(folder, 'written');
    const outcome = await writeExport(parts, request, written, (share) => onProgress(share * WRITING_SHARE), signal);
    const quantizing: string[] = [];
    const files: ExportManifestFile[] = [];
    for (const name of (await readdir(written)).filter((one) => one !== README)) {
      const path = join(written, name);
      const isQuantized = quantizer !== null && name.endsWith('.gguf');
      const content = isQuantized
        ? quantized(path, request.dtype, quantizer, bench.threads, signal, (note) => quantizing.push(note))
        : createReadStream(path);
      files.push(await store(content, name));
    }
    onProgress(STORED_SHARE);
    const dtype = request.dtype || outcome.source!.dtype;
    const contextLength = Number(outcome.contextLength);
    const proof = request.skipProof
      ? undefined
      : await proveExport(bench, artifacts, { ...request, dtype: dtype.toLowerCase(), contextLength, files, dataFolder }, signal);
    const ofRun =
      request.state === null ? [] : [...typeNotes(request.run.settings, dtype), ...speedNotes(format, outcome.source!, outcome)];
    const ownNotes = [...quantizing, ...ofRun];
    const notes = [...outcome.notes, ...ownNotes];
    const readme = await readFile(join(written, README), 'utf8');
    const text = readme + ownNotes.map((note) => `- ${note}\n`).join('') + (proof ? proofText(proof, request) : '');
    files.push(await store(Buffer.from(text), README));
    const manifest = await store(encodeExportManifest(files), 'manifest');
    return {
      exportDigest: manifest.digest,
      form,
      dtype,
      parameterCount: Number(outcome.parameterCount),
      bytes: files.reduce((sum, file) => sum + file.bytes, 0),
      files,
      made: {
        format,
        multipleOf,
        architecture: outcome.architecture,
        contextLength,
        hiddenSize: Number(outcome.hiddenSize),
        tensorBytes: Number(outcome.tensorBytes),
        layers: outcome.layers.map((one) => ({
          heads: Number(one.heads),
          kvHeads: Number(one.kvHeads),
          units: Number(one.intermediate),
        })),
        notes,
      },
      ...(proof && { proof }),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Has the files of the export written into a folder, from the model's files and the artifact of the state, if there is one. */
async function writeExport(
  { askOwn, artifacts }: ExportParts,
  request: ExportRequest,
  outFolder: string,
  onProgress: (doneShare: number) => void,
  signal: AbortSignal,
): Promise<engineV1.ExportedModel> {
  const { run, state, multipleOf } = request;
  const { path: modelPath, weightsDigest } = run.model;
  const stateFiles = state === null ? [] : [{ name: STATE_FILE, digest: state.stateDigest }];
  return withArtifactFiles(artifacts, stateFiles, (folder) =>
    askOwn(async (client) => {
      const places = { modelPath, weightsDigest, stateFile: state === null ? '' : join(folder, STATE_FILE), outFolder };
      let outcome: engineV1.ExportedModel | undefined;
      for await (const message of client.exportModel({ ...request.engine, ...places, multipleOf, modelCard: modelCard(request) }, signal)) {
        onProgress(message.doneShare);
        outcome = message.outcome ?? outcome;
      }
      if (outcome === undefined) throw new EspalierError('ENGINE_FAILED', 'the engine ended an export without a result');
      return outcome;
    }),
  );
}

/** Returns a note where the run was pruned to a number of bytes in one type, and the export has another type. */
export function typeNotes(settings: Pick<RunSettings, 'targetBytes' | 'budgetDtype'>, dtype: string): string[] {
  const { targetBytes, budgetDtype } = settings;
  if (targetBytes === 0 || budgetDtype === 'model' || dtype.toLowerCase() === budgetDtype) return [];
  const options = `${typeInBlocks(settings) === null ? '' : '--format gguf '}--dtype ${budgetDtype}`;
  return [`The run was pruned to bytes in ${budgetDtype}, and this export is in ${dtype.toLowerCase()}: use ${options} for the budget.`];
}

/** The text of the README. Control characters in names and paths are made visible, since the text may be printed on a terminal. */
export function modelCard({ form, format, ...exported }: Exported & Pick<ExportRequest, 'form' | 'format'>): string {
  return cardLines(exported, `- format ${format}, form ${form}`).map(visibleText).join('\n');
}

function cardLines({ run, state }: Exported, kind: string): string[] {
  const percent = (ratio: number): string => `${(ratio * 100).toFixed(1)}%`;
  if (state === null)
    return [
      `# ${basename(run.model.path)}`,
      '',
      `Written by Espalier from \`${run.model.path}\` (weights ${run.model.weightsDigest}).`,
      '',
      kind,
      '',
    ];
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
    kind,
    '',
  ];
}
