// Tests that the record holds the open heads and units of every recorded state, on the run's own branch and from a fork's beginning on.
// Runs that were rewound or killed are in run-lifecycle.test.ts and crashes.test.ts.
import { v1 } from '#protocol';
import { openUnitsOf } from './harness/open-units-of-state.js';
import { countsOf, expectMasksAsRecorded, queryMasks } from './harness/recorded-masks.js';
import { codeOf, collect, TestServer, unary } from './harness/server.js';

const { MASK_KIND_HIDDEN } = v1.MaskKind;
// Masks are rounded group by group, so that a state can be compared with the record.
const SETTINGS = { totalSteps: 120, targetSparsity: 0.4, maskRounding: v1.MaskRounding.MASK_ROUNDING_GROUPS };

const server = TestServer.inNewFolder();
let done: v1.Run;

beforeAll(async () => {
  await server.start();
  done = await server.completed((await server.launch(SETTINGS)).runId);
});
afterAll(() => server.dispose());

const query = (runId: string, request: Partial<v1.QueryMasksRequest> = {}): Promise<v1.QueryMasksResponse> =>
  queryMasks(server, runId, request);

it('begins with all open, and has as many open in every recorded state as the segment says', async () => {
  const masks = await query(done.runId);
  expect(masks.steps[0]).toBe(0n);
  for (const { open, size } of masks.series) expect(open[0]).toBe(size);
  await expectMasksAsRecorded(server, done.runId);
  expect(masks).toMatchObject({ downsampled: false });
  expect(await server.problemsOf(done.runId)).toEqual([]);
});

it('says unit by unit what a state has, as the state itself does', async () => {
  const masks = await query(done.runId, { fromStep: 120n, resolution: 65_536 });
  expect(masks.steps).toEqual([120n]);
  const chunks = await collect(server.artifacts.downloadArtifact({ digest: done.stateDigest, offset: 0n }));
  const { heads, units, hidden } = openUnitsOf(Buffer.concat(chunks.map(({ chunk }) => chunk)));
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

it('begins in a fork with what its parent had there, and is known when the fork was deleted', async () => {
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

  await unary<v1.DeleteRunResponse>((cb) => server.runs.deleteRun({ runId: run!.runId, reason: '' }, cb));
  expect(await query(run!.runId, { resolution: 65_536 })).toEqual(fork); // masks are known as long as the history is
});

it.each<[string, Partial<v1.QueryMasksRequest>, string]>([
  ['a layer that the model has not', { layer: 99 }, 'FIELD_OUT_OF_RANGE'],
  ['a layer of the hidden units', { layer: 0, kind: MASK_KIND_HIDDEN }, 'REQUEST_INVALID'],
  ['more points than any screen has', { maxPoints: 1001 }, 'FIELD_OUT_OF_RANGE'],
  ['steps from the end to the beginning', { fromStep: 9n, toStep: 3n }, 'FIELD_OUT_OF_RANGE'],
])('refuses %s', async (_, request, code) => {
  expect(await query(done.runId, request).then(() => 'answered', codeOf)).toBe(code);
});
