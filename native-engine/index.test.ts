// The addon with the real engine and the tiny model.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { engineV1 } from '#protocol';
import {
  chosenDevice,
  describeEngine,
  evaluateModel,
  inspectModel,
  numericsFingerprint,
  planMemory,
  releaseBytes,
  Session,
  type ComputeDtype,
  type ExportKind,
  type SegmentOptions,
  type SegmentResult,
  type SessionOptions,
  type SpeedResult,
  type StepReport,
  writeBytes,
} from './index.js';
import type { NativeAddon } from './native.js';
import { exportSession, sessionSettings, trainingSettings } from './testing.js';

const tinyModel = fileURLToPath(new URL('../../testdata/models/gqa-random-tiny', import.meta.url));
const addonPath =
  process.env['ESPALIER_NATIVE_ADDON'] ?? fileURLToPath(new URL('../../native-engine/build/espalier_native.node', import.meta.url));
const ids = new Uint32Array(3200).map((_, i) => (i * i * 7 + i) % 2048);
const folder = mkdtempSync(join(tmpdir(), 'espalier-addon-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file of a state. */
function fileOf(bytes: Uint8Array): string {
  const file = join(mkdtempSync(join(folder, 'state-')), 'state');
  writeFileSync(file, bytes);
  return file;
}

const small = sessionSettings({ batchSize: 2, sequenceLength: 32 });
const open = (teachers = 64): Promise<Session> => Session.open({ modelFolder: tinyModel, settings: small, threads: 1, teachers });

/** Sparsity rises within a few steps. */
const fast = trainingSettings({ lambdaLearningRate: 5 });

async function ready(teachers?: number): Promise<Session> {
  const session = await open(teachers);
  await session.setData(ids);
  await session.initialise(7n);
  return session;
}

function segment(firstStep: number, stepCount: number, changes: Partial<SegmentOptions> = {}): SegmentOptions {
  return {
    firstStep,
    settings: trainingSettings(),
    losses: { layerWeight: 0.9, klWeight: 0.1, lmWeight: 0, temperature: 2 / 3 },
    trainMasks: true,
    returnState: false,
    loraLearningRate: Array.from({ length: stepCount }, (_, i) => 1e-3 - (firstStep + i) * 1e-6),
    scheduledSparsity: Array.from({ length: stepCount }, (_, i) => (firstStep + i) / 100),
    ...changes,
  };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const failure = (code: string, field?: string): unknown => expect.objectContaining(field === undefined ? { code } : { code, field });

test('describes the engine and its numerics', () => {
  const engine = describeEngine();
  expect(engine.build).toMatch(/^sources [0-9a-f]{12}, \S+ \d/);
  const cpu = engine.devices.find((device) => device.name === 'cpu')!;
  expect(cpu).toMatchObject({ problem: '' });
  expect(cpu.threads).toBeGreaterThan(0);
  expect(cpu.memoryAvailableBytes).toBeGreaterThan(1_000_000n);
  expect(cpu.memoryBytes).toBeGreaterThanOrEqual(cpu.memoryAvailableBytes);
  expect(engine.devices.map((device) => device.name)).toContain(chosenDevice('auto').name);
  const settings = sessionSettings({ computeDtype: 'f32' });
  expect(numericsFingerprint({ settings })).not.toBe(numericsFingerprint({ settings: sessionSettings({ computeDtype: 'bf16' }) }));
  // Another build of the engine may compute other bits, and so may other threads and libraries.
  expect(numericsFingerprint({ settings, threads: 2 })).toMatch(
    /^espalier-numerics 4; sources [0-9a-f]{12}, .*; cpu [0-9a-f]{12} \S+ threads 2; libc \d[^;]*; f32$/,
  );
  expect(numericsFingerprint({ settings })).toContain(`; ${engine.build}; `);
  expect(() => numericsFingerprint({ settings, device: 'abacus' })).toThrow(
    expect.objectContaining({ code: 'NOT_SUPPORTED', field: 'device' }),
  );
  for (const device of ['', 'cpu:', 'cpu:x', 'auto:x', 'cpu:1:2'])
    expect(() => chosenDevice(device)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'device' }));
  expect(() => chosenDevice('cpu:7')).toThrow(expect.objectContaining({ code: 'NOT_SUPPORTED', field: 'device' }));
});

test('inspects a model and plans its memory', async () => {
  const model = await inspectModel(tinyModel);
  expect(model).toMatchObject({
    architecture: 'LlamaForCausalLM',
    parameterCount: 254400n,
    weightBytes: 508800n,
    dtype: 'bf16',
    tiedEmbeddings: true,
  });
  expect(model.layers).toEqual(Array(3).fill({ heads: 8n, kvHeads: 2n, intermediate: 160n }));
  const plan = (batchSize: number, sequenceLength: number) =>
    planMemory({ modelFolder: tinyModel, settings: sessionSettings({ batchSize, sequenceLength }) });
  const [small, large] = [await plan(1, 16), await plan(8, 256)];
  expect(large.activationsBytes).toBeGreaterThan(small.activationsBytes);
  const { weightsBytes, loraBytes, optimizerBytes, activationsBytes, teachersBytes, scratchBytes } = small;
  expect(small.totalBytes).toBe(weightsBytes + loraBytes + optimizerBytes + activationsBytes + teachersBytes + scratchBytes);
});

test('memory is planned for the snapshots that instruct, and none is kept where none does', async () => {
  const plan = async (teachers: number) => (await planMemory({ modelFolder: tinyModel, settings: small, teachers })).teachersBytes;
  const [none, one, two, many, more] = [await plan(0), await plan(1), await plan(2), await plan(64), await plan(1_000)];
  expect(none).toBe(0n);
  expect(many - one).toBe(63n * (two - one)); // beside them, the LoRA of the teacher in use
  expect(more).toBe(many); // a session keeps at most 64 of these
  const rising = { scheduledSparsity: Array<number>(100).fill(0.3), settings: fast };
  const reached = { ...rising, stopAtExpectedSparsity: 0.02 };
  const kept: SegmentResult[] = [];
  for (const teachers of [0, 64]) {
    const session = await ready(teachers);
    kept.push(await session.train(segment(0, 100, reached)));
    await session.close();
  }
  expect(kept.map(({ teachers }) => teachers.length)).toEqual([0, 1]);
  expect(kept[0]!.state).toEqual(kept[1]!.state);
});

test('a model with weights that are not finite is refused by the name of the tensor', async () => {
  const broken = join(folder, 'not-finite');
  cpSync(tinyModel, broken, { recursive: true });
  const path = join(broken, 'model.safetensors');
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, { data_offsets: [number, number] }>;
  const name = 'model.layers.1.mlp.up_proj.weight';
  bytes.writeUInt16LE(0x7fc0, 8 + headerBytes + header[name]!.data_offsets[0]);
  writeFileSync(path, bytes);
  const refused = { code: 'WEIGHT_NOT_FINITE', field: 'model', message: expect.stringContaining(`tensor ${name} holds NaN`) as string };
  await expect(inspectModel(broken)).rejects.toMatchObject(refused);
  await expect(Session.open({ modelFolder: broken, settings: small })).rejects.toMatchObject(refused);
});

test('errors keep their code and name the field', async () => {
  await expect(inspectModel(join(folder, 'nothing'))).rejects.toEqual(failure('MODEL_NOT_FOUND', 'model'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ architectures: ['BertModel'] }));
  await expect(inspectModel(folder)).rejects.toEqual(failure('MODEL_UNSUPPORTED', 'config.architectures'));
  const opened = (options: Partial<SessionOptions>): Promise<unknown> =>
    Session.open({ modelFolder: tinyModel, settings: small, ...options });
  await expect(opened({ settings: { ...small, sequenceLength: 4096 } })).rejects.toEqual(failure('INVALID_ARGUMENT', 'sequence_length'));
  await expect(opened({ memoryLimitBytes: 1000 })).rejects.toEqual(failure('OUT_OF_MEMORY'));
  await expect(opened({ weightsDigest: 'ab' })).rejects.toEqual(failure('MODEL_CHANGED', 'weightsDigest'));
  await expect(opened({ settings: { ...small, loraRank: 0 } })).rejects.toEqual(failure('INVALID_ARGUMENT', 'settings.loraRank'));
  await expect(evaluateModel(tinyModel, { ids: new Uint32Array([1, 2, 5000]), window: 3 })).rejects.toThrow('outside the vocabulary');
  const session = await open();
  await expect(session.importState(fileOf(new Uint8Array(100)))).rejects.toEqual(failure('STATE_CORRUPT'));
  await expect(session.setData(ids.subarray(0, 10))).rejects.toEqual(failure('INVALID_ARGUMENT', 'sources[0]'));
  await expect(session.train(segment(0, 1))).rejects.toThrow('no training data');
  await session.setData(ids);
  await expect(session.train(segment(3, 1))).rejects.toEqual(failure('INVALID_ARGUMENT', 'first_step'));
  await expect(session.train(segment(0, 1, { teachers: [{ firstStep: 0, digest: 'f'.repeat(64) }] }))).rejects.toEqual(
    failure('TEACHER_NOT_LOADED'),
  );
  await expect(session.train(segment(0, 2, { scheduledSparsity: [0] }))).rejects.toEqual(failure('INVALID_ARGUMENT', 'scheduledSparsity'));
  await expect(
    session.train(segment(0, 2, { losses: { layerWeight: 1, klWeight: Number.NaN, lmWeight: 0, temperature: 1 } })),
  ).rejects.toEqual(failure('INVALID_ARGUMENT', 'losses.klWeight'));
  await session.close();
  await expect(session.summary()).rejects.toEqual(failure('SESSION_NOT_FOUND'));
});

test('arguments of any kind are refused, never fatal', async () => {
  const native = createRequire(import.meta.url)(addonPath) as NativeAddon;
  const hostile: unknown[] = [
    undefined,
    null,
    0,
    -1,
    Number.NaN,
    2 ** 70,
    'text',
    '\0',
    true,
    5n,
    -5n,
    Symbol('s'),
    () => 0,
    [],
    [1, 'a'],
    {},
    new Uint8Array(3),
    new Float64Array(2),
    new Proxy(
      {},
      {
        get: () => {
          throw new TypeError('trap');
        },
      },
    ),
    {
      get folder() {
        throw new RangeError('getter');
      },
    },
  ];
  const fields = [
    'folder',
    'settings',
    'ids',
    'seed',
    'session',
    'training',
    'bytes',
    'digest',
    'firstStep',
    'teachers',
    'losses',
    'loraLearningRate',
    'window',
    'form',
    'outFolder',
    'computeDtype',
  ];
  const methods = [
    'load',
    'planMemory',
    'open',
    'setData',
    'initialise',
    'importState',
    'loadTeacher',
    'train',
    'evaluate',
    'exportModel',
    'describeState',
  ] as const;
  let refused = 0;
  for (const method of methods) {
    for (const value of hostile) {
      for (const argument of [
        value,
        ...fields.slice(0, 4).map((field) => ({ [field]: value })),
        Object.fromEntries(fields.map((field) => [field, value])),
      ]) {
        const session = new native.Session();
        try {
          await (session[method] as (...all: unknown[]) => Promise<unknown>).call(session, argument, value);
        } catch (error) {
          expect(error).toHaveProperty('message');
          refused++;
        }
      }
    }
  }
  for (const value of hostile)
    for (const settings of [value, { session: value, training: {} }, { session: {}, training: { seed: value } }])
      try {
        native.settingsInEffect(settings as never);
      } catch (error) {
        expect(error).toHaveProperty('message');
      }
  expect(refused).toBeGreaterThan(1000);
  expect(() => (native.Session as unknown as () => unknown)()).toThrow();
  expect(() => native.Session.prototype.load.call({} as never, { folder: 'x' })).toThrow();
  expect(() => native.numericsFingerprint(undefined as never)).toThrow();
});

describe('training', () => {
  test('a segment cut in pieces, exported and imported on the way, ends in the same state', async () => {
    const whole = await ready();
    const reports: StepReport[] = [];
    const result = await whole.train(segment(0, 24), { onReports: (batch) => reports.push(...batch) });
    expect(result).toMatchObject({ stepsDone: 24n, stopped: false, state: { step: 24n } });
    expect(reports.map((report) => report.step)).toEqual(Array.from({ length: 24 }, (_, i) => BigInt(i)));
    expect(reports[0]!.lmLoss).toBeUndefined();
    // The addon names each figure by itself, so that neither it nor the message may lack one.
    expect(Object.keys(reports[0]!).sort()).toEqual([...Object.keys(engineV1.StepReport.create()), 'endedAt'].sort());
    const exported = await whole.exportState();
    expect(exported.digest).toBe(result.state.digest);
    expect(sha256(exported.bytes)).toBe(exported.digest);
    await whole.close();

    const first = await ready();
    await first.train(segment(0, 9));
    const saved = await first.exportState();
    await first.close();
    const second = await open();
    await second.setData(ids);
    expect((await second.importState(fileOf(saved.bytes))).digest).toBe(saved.digest);
    expect((await second.train(segment(9, 15))).state.digest).toBe(exported.digest);
    await second.close();
  });

  test('a teacher is loaded by its digest and makes a difference', async () => {
    const session = await ready();
    await session.train(segment(0, 8));
    const snapshot = await session.exportState();
    await expect(session.loadTeacher('0'.repeat(64), fileOf(snapshot.bytes))).rejects.toEqual(failure('STATE_CORRUPT', 'digest'));
    const intact = await session.train(segment(8, 6));
    await session.importState(fileOf(snapshot.bytes));
    await session.loadTeacher(snapshot.digest, fileOf(snapshot.bytes));
    const taught = await session.train(segment(8, 6, { teachers: [{ firstStep: 8, digest: snapshot.digest }] }));
    expect(taught.state.digest).not.toBe(intact.state.digest);
    await session.importState(fileOf(snapshot.bytes));
    expect((await session.train(segment(8, 6))).state.digest).toBe(intact.state.digest);

    // Only the last 64 teachers stay in memory. An older one must be loaded again.
    const digests: string[] = [];
    let inMemory: string[] = [];
    for (let i = 0; i < 65; i++) {
      await session.initialise(BigInt(100 + i));
      const other = await session.exportState();
      digests.push(other.digest);
      inMemory = await session.loadTeacher(other.digest, fileOf(other.bytes));
    }
    expect(inMemory).toEqual(digests.slice(1).reverse());
    expect(session.teachersKept).toBe(inMemory.length);
    await session.initialise(7n);
    await expect(session.train(segment(0, 1, { teachers: [{ firstStep: 0, digest: digests[0] }] }))).rejects.toEqual(
      failure('TEACHER_NOT_LOADED'),
    );
    await session.train(segment(0, 1, { teachers: [{ firstStep: 0, digest: digests[1] }] }));
    await session.train(segment(1, 1, { teachers: [{ firstStep: 1, digest: digests[2] }] }));
    await session.close();
  });

  test('teachers are read from their files when their turn comes, as many as there are', async () => {
    const session = await ready();
    const teachers: { digest: string; bytes: Uint8Array; file: string }[] = [];
    for (let i = 0; i < 4; i++) {
      await session.train(segment(2 * i, 2));
      const { digest, bytes } = await session.exportState();
      const file = join(folder, digest);
      writeFileSync(file, bytes);
      teachers.push({ digest, bytes, file });
    }
    const last = teachers.at(-1)!;
    for (const { digest, bytes } of teachers) await session.loadTeacher(digest, fileOf(bytes));
    const stretches = teachers.map(({ digest }, index) => ({ firstStep: 8 + 2 * index, digest }));
    const loaded = await session.train(segment(8, 8, { teachers: stretches }));

    const other = await ready(); // has none of the teachers in memory
    await other.importState(fileOf(last.bytes));
    const teacherFiles = teachers.map(({ digest, file }) => ({ digest, file }));
    await other.train(segment(8, 3, { teachers: stretches.slice(0, 2), teacherFiles, nextTeacher: stretches[2]!.digest }));
    const rest = [{ firstStep: 11, digest: stretches[1]!.digest }, ...stretches.slice(2)];
    const read = await other.train(segment(11, 5, { teachers: rest, teacherFiles }));
    expect(read.state.digest).toBe(loaded.state.digest);
    expect(new Set(read.teachers)).toEqual(new Set(teachers.map(({ digest }) => digest)));

    const third = await ready();
    await third.importState(fileOf(last.bytes));
    writeFileSync(last.file, last.bytes.subarray(0, 100));
    const refusal: unknown = await third
      .train(segment(8, 2, { teachers: [{ firstStep: 8, digest: last.digest }], teacherFiles }))
      .catch((error: unknown) => error);
    expect(refusal).toEqual(failure('TEACHER_NOT_LOADED', 'teacher_files'));
    rmSync(last.file);
    await expect(third.train(segment(8, 2, { teachers: [{ firstStep: 8, digest: last.digest }], teacherFiles }))).rejects.toEqual(
      failure('TEACHER_NOT_LOADED', 'teacher_files'),
    );
    await third.train(segment(8, 2)); // nothing had moved
    for (const one of [session, other, third]) await one.close();
  });

  test('teachers change within a segment exactly as between segments, and a stop in any of their stretches ends it there', async () => {
    const session = await ready();
    await session.train(segment(0, 8));
    const strong = await session.exportState();
    await session.train(segment(8, 6));
    const weak = await session.exportState();
    for (const { digest, bytes } of [strong, weak]) await session.loadTeacher(digest, fileOf(bytes));
    const changes = [{ firstStep: 14, digest: weak.digest }, { firstStep: 17, digest: strong.digest }, { firstStep: 22 }];
    let one = await session.train(segment(14, 3, { teachers: changes.slice(0, 1) }));
    one = await session.train(segment(17, 5, { teachers: changes.slice(1, 2) }));
    one = await session.train(segment(22, 4));
    const reports: StepReport[] = [];
    await session.importState(fileOf(weak.bytes));
    const whole = await session.train(segment(14, 12, { teachers: changes }), { onReports: (batch) => reports.push(...batch) });
    expect(whole).toMatchObject({ stepsDone: 12n, stopped: false, state: { digest: one.state.digest } });
    expect(reports.map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, index) => BigInt(14 + index)));

    await session.importState(fileOf(weak.bytes));
    const scheduledSparsity = Array(50_000).fill(0.1) as number[];
    const abort = new AbortController();
    const stopped = await session.train(
      segment(14, 50_000, {
        scheduledSparsity,
        teachers: Array.from({ length: 50_000 }, (_, index) => ({ firstStep: 14 + index, digest: [strong, weak][index % 2]!.digest })),
      }),
      { onReports: () => abort.abort(), signal: abort.signal },
    );
    expect(stopped.stopped).toBe(true);
    expect(stopped.stepsDone).toBeLessThan(50_000n);
    expect(stopped.state.step).toBe(14n + stopped.stepsDone);

    const next = Number(stopped.state.step);
    const given = (...firstSteps: number[]): Promise<unknown> =>
      session.train(segment(next, 5, { teachers: firstSteps.map((firstStep) => ({ firstStep })) }));
    for (const wrong of [[next + 1], [next, next], [next, next + 5], [next, next + 3, next + 2]])
      await expect(given(...wrong)).rejects.toEqual(failure('INVALID_ARGUMENT', 'teachers'));
    // The error is found before the first step, so the state has not changed.
    await expect(
      session.train(segment(next, 5, { teachers: [{ firstStep: next }, { firstStep: next + 2, digest: 'f'.repeat(64) }] })),
    ).rejects.toEqual(failure('TEACHER_NOT_LOADED'));
    expect((await session.summary()).digest).toBe(stopped.state.digest);
    await session.close();
  });

  test('a state that reaches the sparsity asked for is kept as a teacher, the same as one that was loaded', async () => {
    const session = await ready();
    const rising = { scheduledSparsity: Array(100).fill(0.9) as number[], settings: fast };
    const reached = await session.train(segment(0, 100, { ...rising, stopAtExpectedSparsity: 0.02, returnState: true }));
    expect(sha256(reached.stateBytes!)).toBe(reached.state.digest);
    expect(reached.teachers).toEqual([reached.state.digest]);
    const end = Number(reached.stepsDone);
    const teachers = [{ firstStep: end, digest: reached.state.digest }];
    const kept = await session.train(segment(end, 5, { teachers }));
    const other = await ready();
    await other.importState(fileOf(reached.stateBytes!));
    expect(await other.loadTeacher(reached.state.digest, fileOf(reached.stateBytes!))).toEqual([reached.state.digest]);
    expect((await other.train(segment(end, 5, { teachers }))).state.digest).toBe(kept.state.digest);
    expect((await other.train(segment(end + 5, 1))).stateBytes).toBeNull();
    await session.close();
    await other.close();
  });

  test('a state whose digest the caller makes has none, and as a teacher waits for its name', async () => {
    const [session, other] = [await ready(), await ready()];
    const given = await session.train(segment(0, 2, { returnState: true, digestLater: true }));
    expect([given.state.digest, given.keptAs]).toEqual(['', '']);
    expect(sha256(given.stateBytes!)).toBe((await other.train(segment(0, 2))).state.digest);
    const later = { returnState: true, digestLater: true, stopAtExpectedSparsity: -1 };
    const [first, second] = [await session.train(segment(2, 1, later)), await session.train(segment(3, 1, later))];
    expect(second.teachers).toEqual([second.keptAs, first.keptAs]);
    const [digest, newer] = [sha256(first.stateBytes!), sha256(second.stateBytes!)];
    const taught = (firstStep: number, by: string) => segment(firstStep, 2, { teachers: [{ firstStep, digest: by }] });
    await expect(session.train(taught(4, digest))).rejects.toEqual(failure('TEACHER_NOT_LOADED'));
    session.nameTeacher(first.keptAs, digest);
    const end = await session.train(taught(4, digest));
    expect(end.teachers).toEqual([digest, second.keptAs]);
    await other.importState(fileOf(second.stateBytes!));
    await other.loadTeacher(digest, fileOf(first.stateBytes!));
    expect((await other.train(taught(4, digest))).state.digest).toBe(end.state.digest);
    // A teacher that is there already is not kept twice, and a name for one that is gone changes nothing.
    await session.loadTeacher(newer, fileOf(second.stateBytes!));
    session.nameTeacher(second.keptAs, newer);
    session.nameTeacher('unnamed 99', 'f'.repeat(64));
    expect((await session.train(segment(6, 1))).teachers.sort()).toEqual([digest, newer].sort());
    await session.close();
    await other.close();
  });

  test('bytes get their digest and a file of their own; a file that is in the way stays', async () => {
    const bytes = new Uint8Array(700_000).map((_, i) => i * i);
    const [path, taken] = [join(folder, 'written'), join(folder, 'taken')];
    writeFileSync(taken, 'mine');
    expect(await writeBytes(bytes, '')).toEqual({ digest: sha256(bytes), written: false });
    expect(await writeBytes(bytes, path)).toEqual({ digest: sha256(bytes), written: true });
    expect(sha256(readFileSync(path))).toBe(sha256(bytes));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    for (const there of [taken, join(folder, 'nowhere', 'file'), '/dev/full'])
      expect(await writeBytes(bytes, there)).toEqual({ digest: sha256(bytes), written: false });
    expect(readFileSync(taken, 'utf8')).toBe('mine');
    expect(() => writeBytes(new Float32Array(4) as unknown as Uint8Array, path)).toThrow(failure('INVALID_ARGUMENT', 'bytes') as Error);
  });

  test("a result's bytes can be given back, once and again, and are empty then", async () => {
    const session = await ready();
    const { stateBytes } = await session.train(segment(0, 1, { returnState: true }));
    releaseBytes(stateBytes!);
    expect(stateBytes!.byteLength).toBe(0);
    releaseBytes(stateBytes!);
    for (const wrong of ['bytes', new Float32Array(4), Buffer.from('of a pool')]) {
      expect(() => releaseBytes(wrong as Uint8Array)).toThrow(failure('INVALID_ARGUMENT', 'bytes') as Error);
    }
    await session.close();
  });

  test('stops at the sparsity asked for', async () => {
    const session = await ready();
    const result = await session.train(
      segment(0, 100, { scheduledSparsity: Array(100).fill(0.9) as number[], settings: fast, stopAtExpectedSparsity: 0.03 }),
    );
    expect(result.stepsDone).toBeLessThan(100);
    expect(result.stopped).toBe(false);
    expect(result.state.expectedSparsity).toBeGreaterThanOrEqual(0.03);
    await session.close();
  });

  test('a second job is refused while one runs; abort stops at a step boundary', async () => {
    const session = await ready();
    const abort = new AbortController();
    let seen = 0;
    const running = session.train(segment(0, 100_000), {
      signal: abort.signal,
      onReports: (batch) => {
        seen += batch.length;
        abort.abort();
      },
    });
    await expect(session.summary()).rejects.toEqual(failure('ENGINE_BUSY'));
    const result = await running;
    expect(result.stopped).toBe(true);
    expect(result.stepsDone).toBe(BigInt(seen));
    expect(result.state.step).toBe(BigInt(seen));
    expect(seen).toBeLessThan(100_000);
    expect((await session.summary()).digest).toBe(result.state.digest);
    await session.close();
  });

  test('recovery that is stopped before its first step leaves the state as it was, with the LoRA that it had', async () => {
    const settings = sessionSettings({ batchSize: 2, sequenceLength: 32, recoverLoraRank: 4, recoverRefitBatches: 80 });
    const session = await Session.open({ modelFolder: tinyModel, settings, threads: 1 });
    await session.setData(ids);
    const { digest } = await session.initialise(7n);
    const recovery = (seed: bigint): SegmentOptions => segment(0, 1, { trainMasks: false, settings: trainingSettings({ seed }) });
    const abort = new AbortController();
    const stopped = await session.train(recovery(7n), { onCalibrated: () => abort.abort(), signal: abort.signal });
    expect(stopped).toMatchObject({ stopped: true, stepsDone: 0n, refit: undefined, state: { step: 0n, digest } });
    expect((await session.exportState()).digest).toBe(digest);
    // The rows that LoRA gains follow from the seed of these steps: another run with another seed may be the next to take this session.
    const other = await session.train(recovery(8n));
    await session.initialise(7n);
    expect((await session.train(recovery(8n))).state.digest).toBe(other.state.digest);
    await session.initialise(7n);
    expect((await session.train(recovery(7n))).state.digest).not.toBe(other.state.digest);
    await session.close();
  });

  test('a segment says whether its refit stayed, and with which losses', async () => {
    const settings = sessionSettings({ batchSize: 2, sequenceLength: 32, recoverRefitBatches: 2 });
    const session = await Session.open({ modelFolder: tinyModel, settings, threads: 1 });
    await session.setData(ids);
    await session.initialise(7n);
    const first = await session.train(segment(0, 1, { trainMasks: false }));
    expect(first.refit!.kept).toBe(first.refit!.lossAfter < first.refit!.lossBefore);
    expect((await session.train(segment(1, 1, { trainMasks: false }))).refit).toBeUndefined();
    await session.close();
  });

  test('a failing listener rejects the job and leaves the session usable', async () => {
    const session = await ready();
    await expect(
      session.train(segment(0, 100_000), {
        onReports: () => {
          throw new Error('listener broke');
        },
      }),
    ).rejects.toThrow('listener broke');
    expect((await session.summary()).step).toBeGreaterThan(0);
    await session.close();
  });
});

test('close during a job ends it; garbage collection during a job does not', async () => {
  const session = await ready();
  const running = session.train(segment(0, 100_000)).catch((error: unknown) => error);
  await session.close();
  expect(await running).toMatchObject({ stopped: true });

  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const results: Promise<unknown>[] = [];
  for (let i = 0; i < 4; i++) results.push((await ready()).train(segment(0, 20)));
  for (let i = 0; i < 10; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(await Promise.all(results)).toHaveLength(4);
  collect();
});

test('all sessions compute with one team of threads, so that no thread sleeps because of another team', async () => {
  const team = (): number =>
    readdirSync('/proc/self/task').filter((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim() === 'compute').length;
  const sessions: Session[] = [];
  for (let i = 0; i < 3; i++) {
    const session = await Session.open({ modelFolder: tinyModel, settings: small, threads: 2 });
    sessions.push(session);
    await session.setData(ids);
    await session.initialise(7n);
    await session.train(segment(0, 1));
    expect(team()).toBe(2);
  }
  await evaluateModel(tinyModel, { ids: ids.subarray(0, 64), window: 32, threads: 2 });
  expect(team()).toBe(2);
  for (const session of sessions) await session.close();
});

test('a model is inspected while a session trains', async () => {
  const session = await ready();
  const training = session.train(segment(0, 100_000));
  await inspectModel(tinyModel);
  await planMemory({ modelFolder: tinyModel, settings: small });
  await session.close();
  expect(await training).toMatchObject({ stopped: true });
});

test('the process may exit while one job runs and another waits for its turn', async () => {
  const script = `
    import { Session } from ${JSON.stringify(new URL('./index.js', import.meta.url).href)};
    import { trainingSettings } from ${JSON.stringify(new URL('./testing.js', import.meta.url).href)};
    const n = 100000, plan = ${JSON.stringify({ ...segment(0, 0), settings: undefined })};
    const steps = { ...plan, settings: trainingSettings(), loraLearningRate: Array(n).fill(0), scheduledSparsity: Array(n).fill(0) };
    const sessions = [];
    for (let i = 0; i < 2; i++) {
      const session = await Session.open({ modelFolder: ${JSON.stringify(tinyModel)}, settings: ${JSON.stringify(small)} });
      await session.setData(new Uint32Array(3200)); await session.initialise(1n);
      sessions.push(session);
    }
    for (const session of sessions) session.train(steps, { onReports: () => process.exit(5) });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'inherit', 'inherit'] });
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => child.on('exit', (...how) => resolve(how)));
  expect({ code, signal }).toEqual({ code: 5, signal: null });
});

describe('export', () => {
  test.each(['masked', 'compacted'] as const)('%s: the folder has the perplexity of the masked student', async (form) => {
    const session = await ready();
    await session.train(segment(0, 40, { scheduledSparsity: Array(40).fill(0.6) as number[], settings: fast }));
    const outFolder = join(folder, form);
    const shares: number[] = [];
    const exported = await exportSession(
      session,
      { form, dtype: 'f32', outFolder, modelCard: '# card' },
      { onReports: (batch) => shares.push(...batch) },
    );
    expect(exported.files.map((file) => file.name).sort()).toEqual(readdirSync(outFolder).sort());
    for (const file of exported.files) expect(sha256(readFileSync(join(outFolder, file.name)))).toBe(file.sha256);
    const student = await session.evaluate({ ids, window: 64 });
    const intact = await session.evaluate({ ids, window: 64, intact: true });
    const loaded = await evaluateModel(outFolder, { ids, window: 64 });
    expect(Math.abs(loaded.negativeLogLikelihood - student.negativeLogLikelihood)).toBeLessThan(1e-5);
    expect(Math.abs(intact.negativeLogLikelihood - student.negativeLogLikelihood)).toBeGreaterThan(1e-4);
    await expect(exportSession(session, { form, outFolder })).rejects.toEqual(failure('INVALID_ARGUMENT', 'out_folder'));
    await session.close();
  });

  test('names a tokenizer class that uses tokenizer.json as it is, with the values that the class of the source has', async () => {
    const source = join(folder, 'with-class');
    cpSync(tinyModel, source, { recursive: true });
    const given = { tokenizer_class: 'LlamaTokenizer', bos_token: '<s>', chat_template: '{{ messages }}' };
    const exported = async (settings: object, name: string): Promise<unknown> => {
      writeFileSync(join(source, 'tokenizer_config.json'), JSON.stringify(settings));
      const session = await Session.open({ modelFolder: source, settings: small, threads: 1 });
      await session.initialise(1n);
      const outFolder = join(folder, name);
      await exportSession(session, { form: 'padded', outFolder });
      await session.close();
      return JSON.parse(readFileSync(join(outFolder, 'tokenizer_config.json'), 'utf8'));
    };
    const plain = { tokenizer_class: 'PreTrainedTokenizerFast', model_input_names: ['input_ids', 'attention_mask'] };
    expect(await exported(given, 'llama')).toEqual({ ...given, ...plain, padding_side: 'left' });
    expect(await exported({ tokenizer_class: 'GPT2Tokenizer' }, 'gpt2')).toEqual(plain);
    const own = { tokenizer_class: 'OwnTokenizer', auto_map: { AutoTokenizer: ['own.OwnTokenizer', null] } };
    expect(await exported(own, 'own')).toEqual(own);
  });

  test('the size of a state is told before it is exported, in each format', async () => {
    const session = await ready();
    const { state } = await session.train(segment(0, 40, { scheduledSparsity: Array(40).fill(0.6) as number[], settings: fast }));
    const kinds: ExportKind[] = [
      { container: 'safetensors', form: 'compacted', dtype: 'source', multipleOf: 1 },
      { container: 'safetensors', form: 'padded', dtype: 'f32', multipleOf: 1 },
      { container: 'safetensors', form: 'blocks', dtype: 'bf16', multipleOf: 8 },
      { container: 'gguf', form: 'compacted', dtype: 'q8_0', multipleOf: 32 },
    ];
    const parameters = new Set<bigint>();
    for (const [index, kind] of kinds.entries()) {
      const { dense, compact } = await session.measureSpeed({
        promptTokens: 4,
        tokens: 1,
        sequences: 1,
        rounds: 1,
        computeDtype: 'bf16',
        sizedAs: kind,
      });
      const { parameterCount, files } = await exportSession(session, { ...kind, outFolder: join(folder, `sized-${index}`) });
      expect(compact?.size?.parameterCount).toBe(parameterCount);
      const written = files.filter(({ name }) => name.endsWith('.safetensors') || name.endsWith('.gguf'));
      const bytes = written.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const size = Number(compact?.size?.bytes);
      expect(size).toBeLessThanOrEqual(bytes);
      expect(size).toBeGreaterThan(0.7 * bytes); // the rest is headers, and a tokenizer in GGUF
      expect(dense?.size?.parameterCount).toBe(session.model.parameterCount);
      parameters.add(parameterCount);
      if (index === 0) expect(compact?.size).toEqual(state.size);
      // Multiplications by tied embeddings count. Norms multiply by no matrix.
      expect(compact?.size?.multiplications).toBeLessThan(parameterCount);
      expect(Number(compact?.size?.multiplications)).toBeGreaterThan(0.97 * Number(parameterCount));
    }
    expect(parameters.size).toBeGreaterThan(2);
    await session.close();
  });

  test('a model is measured in one dtype before pruning and after', async () => {
    const session = await ready();
    await session.train(segment(0, 40, { scheduledSparsity: Array(40).fill(0.6) as number[], settings: fast }));
    const sizedAs: ExportKind = { container: 'safetensors', form: 'compacted', dtype: 'source', multipleOf: 1 };
    const measure = (computeDtype: ComputeDtype): Promise<SpeedResult> =>
      session.measureSpeed({ promptTokens: 4, tokens: 1, sequences: 1, rounds: 2, computeDtype, sizedAs });
    const [f32, bf16] = [await measure('f32'), await measure('bf16')]; // the model is stored in bf16
    for (const model of ['dense', 'compact'] as const) {
      expect(f32[model]!.weightBytes).toBe(2n * bf16[model]!.weightBytes);
      expect(f32[model]!.weightBytes).toBe(4n * f32[model]!.size!.multiplications);
    }
    expect(f32.rounds).toBe(2);
    const { low, median, high } = f32.compact!.passRatio!;
    expect(low).toBeLessThanOrEqual(median);
    expect(median).toBeLessThanOrEqual(high);
    await session.close();
  });
});
