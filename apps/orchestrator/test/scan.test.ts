// Tests scans, and launches that choose by them, with the real processes on the tiny model.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { codeOf, collect, TestServer, unary } from './harness/server.js';

const { RECIPE_SCAN, RECIPE_FISHER } = v1.Recipe;
const SCAN = {
  recipe: RECIPE_SCAN,
  totalSteps: undefined,
  targetSparsity: undefined,
  segmentSteps: undefined,
  calibrationSequences: 8,
  scanSequences: 4,
};
const CHOSEN = {
  recipe: RECIPE_FISHER,
  totalSteps: undefined,
  segmentSteps: undefined,
  targetSparsity: undefined,
  calibrationSequences: 8,
};

interface Scores {
  layer: number;
  forms: { attention: boolean; kept: number; kl: number; loss: number }[];
}

describe('a scan', () => {
  const server = TestServer.inNewFolder();
  let scan: v1.Run;
  const scoresOf = async (runId: string): Promise<Scores[]> =>
    (await server.events(runId))
      .filter(({ type }) => type === 'LayerScanned')
      .map(({ dataJson }) => JSON.parse(dataJson) as Scores)
      .map(({ layer, forms }) => ({ layer, forms }));
  const frontier = (runId: string, shares: number[]): Promise<v1.QueryFrontierResponse> =>
    unary((done) => server.runs.queryFrontier(v1.QueryFrontierRequest.fromPartial({ runId, shares }), done));

  beforeAll(async () => {
    await server.start();
    scan = await server.completed((await server.launch(SCAN)).runId);
  });
  afterAll(() => server.dispose());

  it('has a step for each layer, leaves the model as it is, and records its scores', async () => {
    expect(scan).toMatchObject({ step: BigInt(scan.layers.length), hardSparsity: 0, settings: { totalSteps: scan.layers.length } });
    const scores = await scoresOf(scan.runId);
    expect(scores.map(({ layer }) => layer)).toEqual(scan.layers.map((_, layer) => layer));
    for (const { forms } of scores) {
      expect(forms.some(({ attention, kept }) => attention && kept === 0)).toBe(true);
      expect(forms.filter(({ attention }) => !attention).length).toBeGreaterThan(4);
      expect(forms.every(({ kl }) => kl > 0)).toBe(true);
    }
    expect(recordProblems(await server.events(scan.runId))).toEqual([]);
  });

  it('has the same scores after the death of all processes, and when it is computed again', async () => {
    const again = await server.disturbed({ launch: () => server.launch(SCAN), when: ({ step }) => step >= 1n, by: () => server.killAll() });
    expect(again.restarts).toBeGreaterThan(0);
    expect(await scoresOf(again.runId)).toEqual(await scoresOf(scan.runId));
    const verified = await collect(server.history.verifyRun(v1.VerifyRunRequest.fromPartial({ runId: scan.runId, replay: true })));
    expect(verified.at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
  });

  it('serves launches of every size, whose widths it chooses', async () => {
    const { points, intactParameters } = await frontier(scan.runId, [0.9, 0.8]);
    const target = Math.round(Number(intactParameters) * 0.8);
    const run = await server.completed((await server.launch({ ...CHOSEN, library: scan.name || scan.runId, targetParams: target })).runId);
    expect(run.settings).toMatchObject({ library: scan.runId, layerWidths: points[1]!.layerWidths, targetParams: undefined });
    expect(run.layers.map(({ headsOpen, unitsOpen }) => `${headsOpen}/${unitsOpen}`).join(',')).toBe(points[1]!.layerWidths);
    expect(run.hardSparsity).toBeCloseTo(points[1]!.sparsity, 5);
    expect(points[0]!.kl).toBeLessThan(points[1]!.kl);
    const again = await server.completed((await server.launch({ ...run.settings! })).runId);
    expect(again.stateDigest).toBe(run.stateDigest);
  });

  it('chooses layers that are alike for a program that needs them, and predicts what it scored', async () => {
    const target = { targetSparsity: 0.3, targetMacs: 0.7, shapeTarget: v1.ShapeTarget.SHAPE_TARGET_UNIFORM };
    const run = await server.completed((await server.launch({ ...CHOSEN, library: scan.runId, ...target })).runId);
    const kept = run.layers.filter(({ headsOpen, unitsOpen }) => headsOpen + unitsOpen > 0);
    expect(new Set(kept.map(({ headsOpen, unitsOpen }) => `${headsOpen}/${unitsOpen}`)).size).toBe(1);
    expect(run.hardSparsity).toBeGreaterThanOrEqual(0.3);
    const { runs, points } = await unary<v1.QueryFrontierResponse>((done) =>
      server.runs.queryFrontier(
        v1.QueryFrontierRequest.fromPartial({ runId: scan.runId, shares: [0.8], choices: 3, shapeTarget: target.shapeTarget }),
        done,
      ),
    );
    expect(points.length).toBeGreaterThan(1);
    expect(points.every(({ share, weightBytes }) => share === 0.8 && weightBytes > 0n)).toBe(true);
    const found = runs.find((one) => one.run!.runId === run.runId)!;
    expect(found.kl).toBeGreaterThan(0);
    expect(found.run!.settings!.layerWidths).toBe(run.settings!.layerWidths);
  });

  it('refuses a text that is shorter than its sequences, since a form would be scored on what it was fitted to', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'espalier-short-'));
    const trainPath = join(folder, 'short.jsonl');
    writeFileSync(trainPath, `${JSON.stringify({ text: 'enough words for a batch of two sequences, but for no scan at all' })}\n`);
    const launched = server.launch(SCAN, { data: { trainPath, validationPath: '' } });
    expect(await launched.catch(codeOf)).toBe('DATA_TOO_SHORT');
    rmSync(folder, { recursive: true });
  });

  it('refuses what it is not for, by name', async () => {
    const code = (settings: Partial<v1.RunSettings>): Promise<unknown> => server.launch(settings).catch(codeOf);
    expect(await code({ ...SCAN, totalSteps: 1 })).toBe('FIELD_OUT_OF_RANGE');
    expect(await code({ ...SCAN, recoverSteps: 5 })).toBe('FIELD_OUT_OF_RANGE');
    expect(await code({ library: scan.runId, targetSparsity: 0.5 })).toBe('FIELD_OUT_OF_RANGE'); // its masks learn
    expect(await code({ ...CHOSEN, library: 'nothing', targetSparsity: 0.5 })).toBe('RUN_NOT_FOUND');
    const run = await server.launch({ ...CHOSEN, targetSparsity: 0.3 });
    expect(await code({ ...CHOSEN, library: run.runId, targetSparsity: 0.5 })).toBe('LIBRARY_UNFIT');
    expect(await frontier(run.runId, []).catch(codeOf)).toBe('LIBRARY_UNFIT');
    expect(await frontier(scan.runId, [2]).catch(codeOf)).toBe('FIELD_OUT_OF_RANGE');
    expect(await code({ ...CHOSEN, targetParams: 9e4, targetMacs: 0.5 })).toBe('BUDGETS_CONFLICT'); // a library alone keeps two
    const refused = (change: Partial<v1.QueryFrontierRequest>): Promise<unknown> =>
      unary<v1.QueryFrontierResponse>((done) =>
        server.runs.queryFrontier(v1.QueryFrontierRequest.fromPartial({ runId: scan.runId, ...change }), done),
      ).catch(codeOf);
    expect(await refused({ choices: 17 })).toBe('FIELD_OUT_OF_RANGE');
    expect(await refused({ shapeTarget: 9 as v1.ShapeTarget })).toBe('FIELD_UNKNOWN_VALUE');
  });
});
