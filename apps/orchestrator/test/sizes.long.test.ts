// Tests that a state has one size everywhere: that of its export. It uses real processes and the tiny model, whose queries share keys and
// values.
import { v1 } from '#protocol';
import { recordProblems } from './harness/record-checks.js';
import { collect, TestServer, unary } from './harness/server.js';

const server = TestServer.inNewFolder();
let run: v1.Run;
let teachers: v1.Teacher[];

const exported = async (request: Partial<v1.ExportRunRequest>): Promise<v1.ModelExport> => {
  const full = v1.ExportRunRequest.fromPartial({ runId: run.runId, skipProof: true, ...request });
  return (await collect(server.runs.exportRun(full))).at(-1)!.export!;
};
const measured = async (request: Partial<v1.BenchRunRequest>): Promise<v1.SpeedOutcome> => {
  const short = { promptTokens: 4, tokens: 1, rounds: 1 };
  return (await collect(server.runs.benchRun(v1.BenchRunRequest.fromPartial({ runId: run.runId, ...short, ...request })))).at(-1)!.outcome!;
};

beforeAll(async () => {
  await server.start();
  run = await server.completed((await server.launch({ targetSparsity: 0.8 })).runId);
  const request = v1.ListTeachersRequest.fromPartial({ runId: run.runId });
  ({ teachers } = await unary<v1.ListTeachersResponse>((done) => server.artifacts.listTeachers(request, done)));
});
afterAll(() => server.dispose());

test('a run and each of its teachers say what their exports hold', async () => {
  expect(run.result).toMatchObject({ estimated: false, parameterCount: (await exported({})).parameterCount });
  expect(teachers.length).toBeGreaterThan(5);
  for (const { mark, parameterCount, weightBytes, sizeEstimated } of teachers.filter((_, index) => index % 5 === 0)) {
    const { parameterCount: counted, bytes } = await exported({ teacherMark: mark });
    expect({ mark, parameterCount, sizeEstimated }).toEqual({ mark, parameterCount: counted, sizeEstimated: false });
    // The model is stored in bf16. Norms before fewer hidden units are in f32.
    expect(weightBytes).toBeGreaterThanOrEqual(2n * parameterCount);
    expect(weightBytes).toBeLessThan((21n * parameterCount) / 10n);
    expect(bytes).toBeGreaterThan(weightBytes);
  }
  // One step may pass several marks, and then they are one state.
  expect(new Set(teachers.map(({ parameterCount }) => parameterCount)).size).toBeGreaterThan(20);
});

test('a measurement says the same, and in another format what that one holds', async () => {
  const { dense, compact, format, computeDtype } = await measured({});
  expect([format, computeDtype]).toEqual(['hf-remote', 'bf16']);
  expect(compact!.parameterCount).toBe(run.result!.parameterCount);
  expect(compact!.weightBytes).toBe(2n * compact!.multiplications);
  expect(dense!.weightBytes).toBe(2n * dense!.multiplications);
  expect(run.result!.multiplicationShare).toBeCloseTo(Number(compact!.multiplications) / Number(dense!.multiplications), 12);
  for (const other of ['gguf', 'hf', 'vllm']) {
    const speed = await measured({ format: other });
    expect([speed.format, speed.compact!.parameterCount]).toEqual([other, (await exported({ format: other })).parameterCount]);
  }
  await expect(measured({ format: 'onnx' })).rejects.toThrow(/format/);
});

test('an export that is measured says its own size, and both models are in one dtype', async () => {
  const { digest, parameterCount } = await exported({ dtype: 'f32' });
  const { compact, dense, format } = await measured({ exportDigest: digest, computeDtype: 'bf16' });
  expect([format, compact!.parameterCount, compact!.weightBytes]).toEqual(['', parameterCount, 2n * compact!.multiplications]);
  expect(dense!.weightBytes).toBe(2n * dense!.multiplications);
});

test('a ratio has one direction and its spread', async () => {
  const { compact } = await measured({ rounds: 0 });
  for (const [speedUp, ratio] of [
    [compact!.prefillSpeedUp!, compact!.prefillRatio],
    [compact!.decodeSpeedUp!, compact!.passRatio],
  ] as const) {
    expect(speedUp.times).toBeCloseTo(1 / ratio, 12);
    expect(speedUp.low).toBeLessThanOrEqual(speedUp.times);
    expect(speedUp.times).toBeLessThanOrEqual(speedUp.high);
  }
  const { speeds } = await server.run(run.runId);
  expect(speeds.at(-1)).toMatchObject({ subject: 'masked', prefill: compact!.prefillSpeedUp, decode: compact!.decodeSpeedUp });
  expect(speeds.at(-1)).toMatchObject({ promptTokens: 4, tokens: 1, batch: 1, computeDtype: 'bf16', stateDigest: run.stateDigest });
  expect((await server.events(run.runId)).filter(({ type }) => type === 'SpeedRecorded')).toHaveLength(speeds.length);
  expect(recordProblems(await server.events(run.runId))).toEqual([]);
});
