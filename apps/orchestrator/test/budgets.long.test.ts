// Tests runs to a budget with the real processes, on a small model with grouped queries and tied embeddings.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { v1 } from '#protocol';
import { writeSmallModel } from '../../../native-engine/testing.js';
import { recordProblems } from './harness/record-checks.js';
import { collect, TestServer, TINY_MODEL, unary } from './harness/server.js';

/** The number of values in the tensors of a safetensors file, by its header alone. */
function numbersIn(bytes: Buffer): number {
  const length = Number(bytes.readBigUInt64LE(0));
  const tensors = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { shape?: number[] }>;
  return Object.values(tensors).reduce((sum, { shape }) => sum + (shape?.reduce((left, right) => left * right, 1) ?? 0), 0);
}

const bytesOf = async (server: TestServer, digest: string): Promise<Buffer> =>
  Buffer.concat((await collect(server.artifacts.downloadArtifact({ digest, offset: 0n }))).map(({ chunk }) => chunk));

const times = (all: number, each: number) => [0.5, 1].map((share) => ({ width: all * share, seconds: all * share * each, spread: 0.01 }));
/** A table in which units take nearly all of the time, and the number of hidden units makes no difference. */
const UNITS_COST_ALL = {
  schema: 'espalier-speed-table',
  version: 1,
  device: 'made by hand',
  dtype: 'bf16',
  batch: 1,
  context: 64,
  phase: 'decode',
  model: { layers: 3, heads: 8, kv_heads: 2, head_dim: 8, units: 160, hidden_size: 64, vocabulary_size: 2048 },
  by_heads: { q: times(8, 1e-7), attention: times(8, 1e-7), o: times(8, 1e-7) },
  by_kv_heads: { kv: times(2, 1e-7) },
  by_units: {
    gate_up: [...times(160, 1e-5), { width: 160, hidden: 32, seconds: 160e-5 }],
    down: [...times(160, 1e-5), { width: 160, hidden: 32, seconds: 160e-5 }],
  },
  layer: { attention: [{ seconds: 0 }], mlp: [{ seconds: 0 }] },
  fixed: [{ seconds: 1e-4 }, { hidden: 32, seconds: 1e-4 }],
};

describe('a run to a budget', () => {
  const server = TestServer.inNewFolder();
  beforeAll(() => server.start());
  afterAll(() => server.dispose());

  it('of parameters exports that many, and is computed again to the same bits', async () => {
    const asked = 150_000;
    const run = await server.completed((await server.launch({ targetSparsity: undefined, targetParams: asked, totalSteps: 40 })).runId);
    expect(run.settings!.targetSparsity).toBeCloseTo(1 - asked / Number(run.parameterCount), 12);
    expect(run.targetMissed).toBe(false);
    expect(Math.abs(run.budget!.predicted! / asked - 1)).toBeLessThan(0.01);

    const predicted = Math.round(run.budget!.predicted!);
    const export_ = v1.ExportRunRequest.fromPartial({ runId: run.runId, format: 'hf-remote', skipProof: true });
    const made = (await collect(server.runs.exportRun(export_))).at(-1)!.export!;
    const { files } = JSON.parse((await bytesOf(server, made.digest)).toString()) as { files: { name: string; digest: string }[] };
    const weights = files.find(({ name }) => name === 'model.safetensors')!;
    expect(numbersIn(await bytesOf(server, weights.digest))).toBe(predicted);
    expect((await server.run(run.runId)).budget!.measured).toBe(predicted);

    const replayed = v1.VerifyRunRequest.fromPartial({ runId: run.runId, replay: true, fromStep: 0n, toStep: 10n });
    expect((await collect(server.history.verifyRun(replayed))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    expect(recordProblems(await server.events(run.runId))).toEqual([]);
  });

  it('of bytes in q8_0 exports a GGUF file as large as its masks say, with tokenizer and cache', async () => {
    const cache = { budgetContext: 50, budgetBatch: 2 };
    const settings = { targetSparsity: undefined, targetBytes: 300_000, budgetDtype: 'q8_0', totalSteps: 20, ...cache };
    const { SHAPE_TARGET_GGUF, SHAPE_TARGET_VLLM } = v1.ShapeTarget;
    await expect(server.launch({ ...settings, shapeTarget: SHAPE_TARGET_GGUF })).rejects.toThrow('zeros fill up uneven groups');
    const run = await server.completed((await server.launch({ ...settings, shapeTarget: SHAPE_TARGET_VLLM })).runId);
    expect(run.budget).toMatchObject({ setting: 'target_bytes', unit: 'bytes of a q8_0 file' });

    const export_ = v1.ExportRunRequest.fromPartial({ runId: run.runId, format: 'gguf', dtype: 'q8_0', skipProof: true });
    await collect(server.runs.exportRun(export_));
    const { budget } = await server.run(run.runId);
    expect(Math.abs(budget!.measured! / budget!.predicted! - 1)).toBeLessThan(0.01);
  });
});

describe('a run to a budget of a model with norms after blocks and norms of heads', () => {
  const server = TestServer.inNewFolder();
  const folder = mkdtempSync(join(tmpdir(), 'espalier-kinds-'));
  beforeAll(() => server.start());
  afterAll(async () => {
    await server.dispose();
    rmSync(folder, { recursive: true });
  });

  it.each(['gemma3', 'olmo2'] as const)('%s: the export has the size that was asked for', async (kind) => {
    const modelPath = writeSmallModel(join(folder, kind), kind);
    for (const asked of [{ targetParams: 150_000 }, { targetBytes: 600_000 }, { targetMacs: 0.6 }]) {
      const { runId } = await server.launch({ targetSparsity: undefined, totalSteps: 20, ...asked }, { modelPath });
      const run = await server.completed(runId);
      expect(run.targetMissed).toBe(false);
      const export_ = v1.ExportRunRequest.fromPartial({ runId, format: 'hf-remote', skipProof: true });
      await collect(server.runs.exportRun(export_));
      const { predicted, measured } = (await server.run(runId)).budget!;
      expect(measured! / predicted!).toBeCloseTo(1, 6);
    }
  });
});

describe('a run to a speed', () => {
  const server = TestServer.inNewFolder();
  const table = join(mkdtempSync(join(tmpdir(), 'espalier-table-')), 'table.json');
  beforeAll(async () => {
    writeFileSync(table, JSON.stringify(UNITS_COST_ALL));
    await server.start();
  });
  afterAll(async () => {
    await server.dispose();
    rmSync(dirname(table), { recursive: true });
  });
  const asked = () => server.launch({ targetSparsity: undefined, targetSpeedup: 1.5, speedTable: table, totalSteps: 60 });

  it('closes what takes the time, and ends in the same bits though all processes were killed', async () => {
    const run = await server.completed((await asked()).runId);
    expect(run.targetMissed).toBe(false);
    const { asked: seconds, predicted, intact, speed } = run.budget!;
    expect(intact / seconds).toBeCloseTo(1.5, 9);
    expect(predicted! / seconds).toBeLessThanOrEqual(1);
    expect(predicted! / seconds).toBeGreaterThan(0.99);
    expect(speed).toMatchObject({ phase: 'decode', batch: 1, context: 64, device: 'made by hand' });
    expect(JSON.parse((await bytesOf(server, speed!.tableDigest)).toString())).toEqual(UNITS_COST_ALL);
    // Attention takes almost no time in this table, and a third of the time has to go.
    const open = (of: (layer: v1.LayerShape) => number): number => run.layers.reduce((sum, layer) => sum + of(layer), 0);
    expect(open(({ unitsOpen }) => unitsOpen) / (3 * 160)).toBeLessThan(0.7);
    expect(open(({ headsOpen }) => headsOpen) / (3 * 8)).toBeGreaterThan(open(({ unitsOpen }) => unitsOpen) / (3 * 160));

    const killed = await server.disturbed({ launch: asked, when: ({ step }) => step >= 20n, by: () => server.killAll() });
    expect(killed.stateDigest).toBe(run.stateDigest);
    expect(recordProblems(await server.events(killed.runId))).toEqual([]);
    // The record holds everything that the run's cost depends on, so nothing is read or measured again.
    writeFileSync(table, '{}');
    const replayed = v1.VerifyRunRequest.fromPartial({ runId: run.runId, replay: true, fromStep: 0n, toStep: 10n });
    expect((await collect(server.history.verifyRun(replayed))).at(-1)!.summary).toMatchObject({ ok: true, problems: [] });
    await expect(asked()).rejects.toThrow('the speed table is refused: schema: ');
    // A stored table can be named by the beginning of its digest, without a file.
    const settings = { targetSparsity: undefined, targetSpeedup: 1.5, speedTable: speed!.tableDigest.slice(0, 8), totalSteps: 2 };
    const again = await server.completed((await server.launch(settings)).runId);
    expect(again.settings!.speedTable).toBe(speed!.tableDigest);
    expect(again.budget).toMatchObject({ asked: seconds, intact, speed });
  });

  it('can be asked for by a table that the engine measures', async () => {
    const request = { modelPath: TINY_MODEL, phase: 'decode', context: 16, rounds: 3 };
    const measure = (on: string, batch = 1) =>
      unary<v1.MeasureSpeedTableResponse>((done) =>
        server.engineService.measureSpeedTable(v1.MeasureSpeedTableRequest.fromPartial({ ...request, on, batch }), done),
      );
    await expect(measure('cpu', 17)).rejects.toThrow('batch: must be from 1 to 16, is 17');
    const measured = await measure('cpu');
    expect(measured.passSeconds).toBeGreaterThan(0);
    expect(JSON.parse(measured.table.toString())).toMatchObject({
      schema: 'espalier-speed-table',
      phase: 'decode',
      context: 16,
      rounds: 3,
    });
    expect(await bytesOf(server, measured.tableDigest)).toEqual(measured.table);
    await expect(measure('cuda:7')).rejects.toThrow('compute on cpu');

    // Mistakes of the launch that the table is for show first: no device is asked.
    const forLaunch = (data: object, settings: object = { targetSpeedup: 1.5 }) =>
      unary<v1.MeasureSpeedTableResponse>((done) =>
        server.engineService.measureSpeedTable(v1.MeasureSpeedTableRequest.fromPartial({ ...request, on: 'cuda:7', data, settings }), done),
      );
    await expect(forLaunch({ trainPath: '/nowhere/text.jsonl' })).rejects.toThrow('/nowhere/text.jsonl');
    await expect(forLaunch({ trainPath: TINY_MODEL })).rejects.toThrow('not valid JSON');
    await expect(forLaunch({ trainPath: '/nowhere' }, { targetSpeedup: 0.9 })).rejects.toThrow('is slower than the intact model');
    await expect(forLaunch({ trainPath: '/nowhere' }, { targetSpeedup: 1.5, recipe: v1.Recipe.RECIPE_WANDA })).rejects.toThrow(
      'masks have to learn',
    );
  });
});
