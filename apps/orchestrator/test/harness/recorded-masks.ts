// Compares the masks that a server tells with the counts that segments were recorded with.
import { v1 } from '#protocol';
import { unary, type TestServer } from './server.js';

const { MASK_KIND_HEADS, MASK_KIND_UNITS, MASK_KIND_HIDDEN } = v1.MaskKind;

export function queryMasks(server: TestServer, runId: string, request: Partial<v1.QueryMasksRequest> = {}): Promise<v1.QueryMasksResponse> {
  return unary((cb) => server.history.queryMasks(v1.QueryMasksRequest.fromPartial({ runId, maxPoints: 1000, ...request }), cb));
}

/** The open heads and units of each layer, and the open hidden units, by step. */
export function countsOf({ steps, series }: v1.QueryMasksResponse): Map<bigint, object> {
  const openOf = (kind: v1.MaskKind, at: number): number[] => series.filter((one) => one.kind === kind).map(({ open }) => open[at]!);
  return new Map(
    steps.map((step, at) => [
      step,
      { heads: openOf(MASK_KIND_HEADS, at), units: openOf(MASK_KIND_UNITS, at), hidden: openOf(MASK_KIND_HIDDEN, at) },
    ]),
  );
}

/** Expects that masks have as many open in every recorded state as its segment says. Segments that a rewind abandoned are left out. */
export async function expectMasksAsRecorded(server: TestServer, runId: string): Promise<void> {
  const events = (await server.events(runId)).filter(({ type, abandoned }) => type === 'MasksUpdated' && !abandoned);
  const recorded = events.map(({ dataJson }): [bigint, object] => {
    const { state } = JSON.parse(dataJson) as { state: { step: number; headsOpen: number[]; unitsOpen: number[]; hiddenOpen: number } };
    return [BigInt(state.step), { heads: state.headsOpen, units: state.unitsOpen, hidden: [state.hiddenOpen] }];
  });
  const counts = countsOf(await queryMasks(server, runId));
  counts.delete(0n); // before the first segment
  expect(recorded.length).toBeGreaterThan(0);
  expect(counts).toEqual(new Map(recorded));
}
