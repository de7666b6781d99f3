// Tests that the record holds the open heads and units of every recorded state, on the run's own branch and from a fork's beginning on.
import { openUnits } from '../src/queries/open-units.js';
import { readStateFile } from '../src/queries/state-file.js';
import { v1 } from '#protocol';
import { CLOSELY_MS, codeOf, collect, TestServer, unary } from './harness/server.js';

const { MASK_KIND_HEADS, MASK_KIND_UNITS, MASK_KIND_HIDDEN } = v1.MaskKind;
// Masks are rounded as in runs from before masks were recorded, so that a state can be compared with the record.
const SETTINGS = { totalSteps: 120, targetSparsity: 0.4, maskRounding: v1.MaskRounding.MASK_ROUNDING_GROUPS };

const server = TestServer.inNewFolder();
let done: v1.Run;

beforeAll(async () => {
  await server.start();
  done = await server.completed((await server.launch(SETTINGS)).runId);
});
afterAll(() => server.dispose());

const query = (runId: string, request: Partial<v1.QueryMasksRequest> = {}): Promise<v1.QueryMasksResponse> =>
  unary((cb) => server.history.queryMasks(v1.QueryMasksRequest.fromPartial({ runId, maxPoints: 1000, ...request }), cb));

const openOf = ({ series }: v1.QueryMasksResponse, kind: v1.MaskKind, at: number): number[] =>
  series.filter((one) => one.kind === kind).map(({ open }) => open[at]!);

/** The counts with which segments were recorded, by step. Segments that a rewind abandoned are left out. */
async function recordedCounts(runId: string): Promise<Map<bigint, object>> {
  const events = (await server.events(runId)).filter(({ type, abandoned }) => type === 'MasksUpdated' && !abandoned);
  return new Map(
    events.map(({ dataJson }) => {
      const { state } = JSON.parse(dataJson) as { state: { step: number; headsOpen: number[]; unitsOpen: number[]; hiddenOpen: number } };
      return [BigInt(state.step), { heads: state.headsOpen, units: state.unitsOpen, hidden: [state.hiddenOpen] }];
    }),
  );
}

function countsOf(masks: v1.QueryMasksResponse): Map<bigint, object> {
  return new Map(
    masks.steps.map((step, at) => [
      step,
      { heads: openOf(masks, MASK_KIND_HEADS, at), units: openOf(masks, MASK_KIND_UNITS, at), hidden: openOf(masks, MASK_KIND_HIDDEN, at) },
    ]),
  );
}

it('begins with all open, and has as many open in every recorded state as the segment says', async () => {
  const masks = await query(done.runId);
  expect(masks.steps[0]).toBe(0n);
  for (const { open, size } of masks.series) expect(open[0]).toBe(size);
  const counts = countsOf(masks);
  counts.delete(0n);
  expect(counts).toEqual(await recordedCounts(done.runId));
  expect(masks).toMatchObject({ downsampled: false, teachersOnlyBefore: 0n });
  expect(await server.problemsOf(done.runId)).toEqual([]);
});

it('says unit by unit what a state has, as the state itself does', async () => {
  const masks = await query(done.runId, { fromStep: 120n, resolution: 65_536 });
  expect(masks.steps).toEqual([120n]);
  const chunks = await collect(server.artifacts.downloadArtifact({ digest: done.stateDigest, offset: 0n }));
  const { heads, units, hidden } = openUnits(readStateFile(Buffer.concat(chunks.map(({ chunk }) => chunk))));
  const open = masks.series.map(({ groupOpen }) => new Set([...groupOpen].flatMap((share, unit) => (share === 255 ? [unit] : []))));
  expect(open).toEqual([...heads, ...units, hidden]);
});

it('tells which closed and opened between the states that are shown, however few these are', async () => {
  const bounds = await query(done.runId, { maxPoints: 2, resolution: 65_536, includeChanges: true });
  expect(bounds).toMatchObject({ steps: [0n, 120n], downsampled: true });
  const all = await query(done.runId, { includeChanges: true });
  for (const [index, { size, groupOpen, changes }] of bounds.series.entries()) {
    const closed = new Set<number>();
    for (const change of all.series[index]!.changes) {
      for (const unit of change.closed) closed.add(unit);
      for (const unit of change.opened) closed.delete(unit);
    }
    const closedAtEnd = [...groupOpen.subarray(size)].flatMap((share, unit) => (share === 0 ? [unit] : []));
    expect([...closed].sort((left, right) => left - right)).toEqual(closedAtEnd);
    expect(changes.flatMap((change) => change.closed)).toEqual(closedAtEnd);
  }
});

it('begins in a fork with what its parent had there', async () => {
  const from = { $case: 'teacherMark', value: 9 } as const;
  const { run } = await unary<v1.ForkRunResponse>((cb) =>
    server.runs.forkRun(v1.ForkRunRequest.fromPartial({ parentRunId: done.runId, from }), cb),
  );
  await server.completed(run!.runId);
  const fork = await query(run!.runId, { resolution: 65_536 });
  const parent = await query(done.runId, { fromStep: run!.forkedAtStep, resolution: 65_536 });
  expect(fork.steps[0]).toBe(run!.forkedAtStep);
  expect(countsOf(fork)).toEqual(countsOf(parent));
  expect(fork.series.map(({ groupOpen }) => groupOpen)).toEqual(parent.series.map(({ groupOpen }) => groupOpen));
  expect(await server.problemsOf(run!.runId)).toEqual([]);
});

describe('a run that was rewound', () => {
  let runId: string;

  beforeAll(async () => {
    ({ runId } = await server.disturbed({
      launch: () => server.launch(SETTINGS),
      when: ({ step }) => step > 30n,
      by: async (disturbed) => {
        await server.kill();
        await server.start();
        await server.until(disturbed, ({ teacherCount, step }) => teacherCount > 5 && step > 50n, CLOSELY_MS);
        if (!(await server.pause(disturbed))) return false;
        await server.resume(disturbed, { from: { $case: 'teacherMark', value: 3 } });
        return true;
      },
    }));
  });

  it('leaves out what the rewind took back, and goes on over pauses and kills', async () => {
    const counts = countsOf(await query(runId));
    counts.delete(0n);
    expect(counts).toEqual(await recordedCounts(runId));
    expect(await server.problemsOf(runId)).toEqual([]);
  });

  it('has masks that are known as long as the history is, also when it was deleted', async () => {
    const before = await query(runId);
    await unary<v1.DeleteRunResponse>((cb) => server.runs.deleteRun({ runId, reason: '' }, cb));
    expect(await query(runId)).toEqual(before);
    expect(await server.problemsOf(runId)).toEqual([]);
  });
});

it.each<[string, Partial<v1.QueryMasksRequest>, string]>([
  ['a layer that the model has not', { layer: 99 }, 'FIELD_OUT_OF_RANGE'],
  ['a layer of the hidden units', { layer: 0, kind: MASK_KIND_HIDDEN }, 'REQUEST_INVALID'],
  ['more points than any screen has', { maxPoints: 1001 }, 'FIELD_OUT_OF_RANGE'],
  ['steps from the end to the beginning', { fromStep: 9n, toStep: 3n }, 'FIELD_OUT_OF_RANGE'],
])('refuses %s', async (_, request, code) => {
  expect(await query(done.runId, request).then(() => 'answered', codeOf)).toBe(code);
});
