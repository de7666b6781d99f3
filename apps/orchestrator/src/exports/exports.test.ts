// Tests an export while another run with an equal file is deleted. The export must stay whole.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeExportManifest, encodeExportManifest, openArtifactStore, type ArtifactStore, type PutOptions } from '#artifact-store';
import { engineV1 } from '#protocol';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { StateKeeper } from '../retention/state-keeper.js';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import { exportModel, typeNotes, type ExportParts, type ExportRequest } from './exports.js';

const TOKENIZER = Buffer.from('{"model": "the same in every export of this model"}');
let folder: string;
let artifacts: ArtifactStore;
let keeper: StateKeeper;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'exports-'));
  artifacts = await openArtifactStore({ folder });
  await artifacts.put(state);
  // the other run's events no longer need it, and this run's events don't yet
  const feed = { onChange: () => undefined, isNeeded: () => false };
  const lease = { isSurelyHeld: true };
  const log = { warn: () => undefined, info: () => undefined };
  const keptHere = { sharesArtifacts: false };
  keeper = new StateKeeper(artifacts, feed as never, {} as never, lease as never, { missing: null }, keptHere, log as never);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** An engine of this installation: it writes two files and the README, and reports the outcome. */
const ours = {
  async *exportModel({ outFolder }: engineV1.ExportModelRequest): AsyncGenerator<engineV1.ExportModelResponse> {
    await mkdir(outFolder);
    await writeFile(join(outFolder, 'model.safetensors'), 'weights');
    await writeFile(join(outFolder, 'tokenizer.json'), TOKENIZER);
    await writeFile(join(outFolder, 'README.md'), '# it\n');
    const source = { dtype: 'F32', headDim: 4n, vocabSize: 16n, hiddenSize: 8n, layers: [{ heads: 2n, kvHeads: 2n, intermediate: 8n }] };
    const outcome = { hiddenSize: 8n, layers: [{ heads: 1n, kvHeads: 1n, intermediate: 8n }], source };
    yield engineV1.ExportModelResponse.fromPartial({ outcome });
  },
};
const parts = (store: ArtifactStore): ExportParts => ({
  ...{ artifacts: store, keeper, dataFolder: folder },
  askOwn: (ask) => ask(ours as unknown as EngineApi),
});
/** The bench of an engine of a user's, which an export without a proof does not ask. */
const bench = { engine: { client: {} } } as unknown as EngineWorkbench;
const state = Buffer.from('a state');
const request = {
  run: { runId: 'r', name: 'ours', model: { path: '/m', weightsDigest: 'w' }, settings: { recipe: 'lm', targetSparsity: 0.5 } },
  state: { step: 1, stateDigest: sha256Hex(state), hardSparsity: 0.5 },
  format: 'hf', form: 'padded', dtype: '', multipleOf: 1, teacherMark: null, skipProof: true, engine: {},
} as unknown as ExportRequest; // prettier-ignore

/** A store in which the other run gives up all its artifacts at each write, right before the writer learns that the bytes are stored. */
function besideDeletions(): ArtifactStore {
  return Object.assign(Object.create(artifacts) as ArtifactStore, {
    put: async (content: AsyncIterable<Uint8Array> | Uint8Array, options?: PutOptions) => {
      const stored = await artifacts.put(content, options);
      await keeper.discard(stored.digest);
      return stored;
    },
  });
}

test('each file and the manifest are pinned before they lie under their digests, and the deletion leaves them', async () => {
  await artifacts.put(TOKENIZER); // the other run's export has this file already
  const pinned: string[] = [];
  const exported = await exportModel(parts(besideDeletions()), bench, request, pinned, () => undefined, new AbortController().signal);
  const files = decodeExportManifest(await artifacts.get(exported.exportDigest));
  expect(files.map(({ name }) => name)).toEqual(['README.md', 'model.safetensors', 'tokenizer.json']);
  for (const { digest } of files) expect(await artifacts.verify(digest)).toBe('ok');
  expect(encodeExportManifest(exported.files)).toEqual(await artifacts.get(exported.exportDigest));
  expect(new Set(pinned)).toEqual(new Set([...files.map(({ digest }) => digest), exported.exportDigest]));
});

test('the files of an export are written by an engine of this installation; the engine of the run is not asked for them', async () => {
  const asked: string[] = [];
  const hostile = new Proxy({}, { get: (_, method) => asked.push(String(method)) });
  const theirs = { engine: { client: hostile } } as unknown as EngineWorkbench;
  const { files } = await exportModel(parts(artifacts), theirs, request, [], () => undefined, new AbortController().signal);
  expect([files.map(({ name }) => name).sort(), asked]).toEqual([['README.md', 'model.safetensors', 'tokenizer.json'], []]);
});

test('no manifest names a file outside its folder', () => {
  const file = (name: string) => () => encodeExportManifest([{ name, bytes: 1, digest: 'a'.repeat(64) }]);
  expect(file('../../../../x')).toThrow(expect.objectContaining({ code: 'ARTIFACT_CORRUPT' }));
  expect(file('model.gguf')).not.toThrow();
});

test('an export that fails lets go of all that it stored', async () => {
  const pinned: string[] = [];
  await exportModel(parts(besideDeletions()), bench, request, pinned, () => undefined, new AbortController().signal);
  for (const digest of pinned) keeper.release(digest);
  for (const digest of pinned) await keeper.discard(digest);
  for await (const { digest } of artifacts.list()) if (digest !== request.state?.stateDigest) throw new Error(`${digest} was left`);
});

test('an export in another type than the budget counts says so, and how to make the right one', () => {
  const notes = (budgetDtype: string, dtype: string): string => typeNotes({ targetBytes: 1e6, budgetDtype }, dtype).join();
  expect(notes('q8_0', 'BF16')).toBe(
    'The run was pruned to bytes in q8_0, and this export is in bf16: use --format gguf --dtype q8_0 for the budget.',
  );
  expect(notes('f16', 'BF16')).toMatch(/: use --dtype f16 for/);
  expect([notes('q8_0', 'q8_0'), notes('bf16', 'BF16'), notes('model', 'F32')]).toEqual(['', '', '']);
  expect(typeNotes({ targetBytes: 0, budgetDtype: 'q8_0' }, 'BF16')).toEqual([]);
});
