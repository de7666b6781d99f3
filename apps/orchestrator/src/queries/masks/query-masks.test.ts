// Tests runs of earlier releases, whose masks were not recorded. The masks of their teachers' states are shown.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openArtifactStore, type ArtifactStore } from '#artifact-store';
import { v1 } from '#protocol';
import { launched, stateAt, Story } from '../../pruning-run/testing.js';
import { RunProjection } from '../../views/projection/run-projection.js';
import { summaryOf, type RunDetail } from '../../views/projection/run-detail.js';
import type { RunViews } from '../../views/run-views.js';
import { Recorder, withDatabase } from '../../views/testing.js';
import { queryMasks } from './query-masks.js';

const RUN = 'aaaabbbbcccc';
const SHAPES: Record<string, number[]> = { 'mask.head': [3, 8], 'mask.intermediate': [3, 160], 'mask.hidden': [1, 64] };
const views = withDatabase();
let folder: string;
let artifacts: ArtifactStore;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'masks-'));
  artifacts = await openArtifactStore({ folder });
});
afterAll(async () => {
  views.close();
  await rm(folder, { recursive: true, force: true });
});

/** A state file in which all gates but these are open, with a tensor that is not asked for. */
function stateFile(closed: Record<string, number[]>): Buffer {
  const tensors = Object.entries({ 'lora.a': [1000], ...SHAPES }).map(([name, shape]) => {
    const logAlphas = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(10);
    for (const gate of closed[name] ?? []) logAlphas[gate] = -10;
    return { name, shape, data: Buffer.from(logAlphas.buffer) };
  });
  let end = 0;
  const header = Object.fromEntries(
    tensors.map(({ name, shape, data }) => [name, { dtype: 'F32', shape, data_offsets: [end, (end += data.byteLength)] }]),
  );
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUint64LE(BigInt(text.byteLength));
  return Buffer.concat([size, text, ...tensors.map(({ data }) => data)]);
}

test('states between teachers have none, and the answer says from where on they would', async () => {
  const closed: Record<string, number[]>[] = [
    { 'mask.head': [9] },
    { 'mask.head': [9], 'mask.intermediate': [0, 319], 'mask.hidden': [63] },
  ];
  const digests = await Promise.all(closed.map(async (gates) => (await artifacts.put(stateFile(gates))).digest));
  const story = new Story(launched({}, RUN))
    .start()
    .train({ ...stateAt(10, 0.011), stateDigest: digests[0]! }, stateAt(20, 0.015), { ...stateAt(30, 0.021), stateDigest: digests[1]! });
  new RunProjection(views.database).apply(new Recorder().record(RUN, story.facts).events, null);
  const { detail } = views.database.prepare('SELECT detail FROM run_details').get() as { detail: string };
  const known = { database: views.database, runId: async () => RUN, peek: () => summaryOf(JSON.parse(detail) as RunDetail) };
  const request = v1.QueryMasksRequest.fromPartial({ runId: RUN, includeChanges: true });
  const { steps, series, teachersOnlyBefore } = await queryMasks(
    known as unknown as RunViews,
    artifacts,
    request,
    new AbortController().signal,
  );
  expect(steps).toEqual([10n, 30n]);
  expect(teachersOnlyBefore).toBe(30n);
  expect(series.map(({ open }) => open)).toEqual([
    [8, 8],
    [7, 7],
    [8, 8],
    [160, 159],
    [160, 159],
    [160, 160],
    [64, 63],
  ]);
  expect(series.flatMap(({ kind, layer, changes }) => changes.map(({ step, closed }) => ({ kind, layer, step, closed })))).toEqual([
    { kind: v1.MaskKind.MASK_KIND_UNITS, layer: 0, step: 30n, closed: [0] },
    { kind: v1.MaskKind.MASK_KIND_UNITS, layer: 1, step: 30n, closed: [159] },
    { kind: v1.MaskKind.MASK_KIND_HIDDEN, layer: 0, step: 30n, closed: [63] },
  ]);
});
