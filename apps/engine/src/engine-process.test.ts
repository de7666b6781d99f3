// The real engine process over its socket, with the tiny model.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ownerName, programFile } from '#files';
import { credentials, makeClientConstructor, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { engineV1, fromServiceError, presetDefaults, releaseOf, settingsMessage, v1, type EspalierError } from '#protocol';

const entry = programFile(new URL('./main.js', import.meta.url));
const tinyModel = fileURLToPath(new URL('../../../../testdata/models/gqa-random-tiny', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-engine-test-'));
const ids = Buffer.from(new Uint32Array(6400).map((_, i) => (i * i * 7 + i) % 2048).buffer);
const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

interface Engine {
  child: ChildProcess;
  client: engineV1.EngineServiceClient;
  socket: string;
  log: Record<string, unknown>[];
  ended: Promise<[number | null, string | null]>;
}
const engines: Engine[] = [];
let count = 0;

async function start(...more: string[]): Promise<Engine> {
  const socket = join(folder, `engine-${count++}.sock`);
  const child = spawn(
    process.execPath,
    [entry, '--listen', `unix:${socket}`, '--threads', '1', '--scratch', join(folder, 'scratch'), ...more],
    { stdio: ['pipe', 'inherit', 'pipe'] },
  );
  const log: Record<string, unknown>[] = [];
  let rest = '';
  const listening = new Promise<void>((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) log.push(JSON.parse(line) as Record<string, unknown>);
      if (log.some((line) => line['msg'] === 'listening')) resolve();
    });
  });
  const ended = new Promise<[number | null, string | null]>((resolve) => child.on('exit', (code, signal) => resolve([code, signal])));
  await Promise.race([
    listening,
    ended.then(([code]) => {
      throw new Error(`the engine ended with ${code}: ${JSON.stringify(log)}`);
    }),
  ]);
  const engine = { child, client: new engineV1.EngineServiceClient(`unix:${socket}`, credentials.createInsecure()), socket, log, ended };
  engines.push(engine);
  return engine;
}

afterAll(async () => {
  for (const { child, client, ended } of engines) {
    client.close();
    child.kill('SIGKILL');
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

type Method<Request, Response> = (request: Request, callback: (error: ServiceError | null, response: Response) => void) => unknown;

function call<Request, Response>(
  client: engineV1.EngineServiceClient,
  method: Method<Request, Response>,
  request: Request,
): Promise<Response> {
  return new Promise((resolve, reject) =>
    method.call(client, request, (error, response) => (error ? reject(fromServiceError(error)) : resolve(response))),
  );
}

function upload<Request, Response>(
  client: engineV1.EngineServiceClient,
  method: (callback: (error: ServiceError | null, response: Response) => void) => { write(request: Request): void; end(): void },
  requests: Request[],
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const stream = method.call(client, (error, response) => (error ? reject(fromServiceError(error)) : resolve(response)));
    for (const request of requests) stream.write(request);
    stream.end();
  });
}

/** Waits for the first message. A call that ends or fails without one fails the test, which would otherwise wait for ever. */
function firstMessage<Message>(stream: ClientReadableStream<Message>): Promise<Message> {
  return new Promise((resolve, reject) => {
    stream.once('data', resolve).once('error', reject);
    stream.once('end', () => reject(new Error('the call ended without a message')));
  });
}

async function all<Message>(
  stream: ClientReadableStream<Message>,
  onMessage: (message: Message) => void = () => undefined,
): Promise<Message[]> {
  const messages: Message[] = [];
  try {
    for await (const message of stream as AsyncIterable<Message>) {
      messages.push(message);
      onMessage(message);
    }
  } catch (error) {
    throw fromServiceError(error as ServiceError);
  }
  return messages;
}

/** All settings except those whose default is computed. The engine takes those that it needs. */
const defaults = settingsMessage(presetDefaults('short'));

const sessionSettings = (changes: Partial<v1.RunSettings> = {}): v1.RunSettings =>
  v1.RunSettings.fromPartial({
    ...defaults,
    computeDtype: v1.ComputeDtype.COMPUTE_DTYPE_F32,
    batchSize: 2,
    sequenceLength: 32,
    loraRank: 4,
    loraAlpha: 4,
    loraTargets: ['q_proj', 'v_proj'],
    scanSequences: 0,
    ...changes,
  });

const trainingSettings = (changes: Partial<v1.RunSettings> = {}): v1.RunSettings =>
  v1.RunSettings.fromPartial({
    ...defaults,
    seed: 7n,
    maskLearningRate: 0.1,
    maskNoise: 1,
    lambdaLearningRate: 0.5,
    sparsityControl: v1.SparsityControl.SPARSITY_CONTROL_MULTIPLIERS,
    ...changes,
  });

const options = (changes: Partial<engineV1.SessionOptions> = {}): engineV1.SessionOptions => ({
  modelPath: tinyModel,
  weightsDigest: '',
  threads: 0,
  memoryLimitBytes: 0n,
  plannedSparsity: 0,
  teachers: 64,
  settings: sessionSettings(),
  ...changes,
});

const openSession = (
  { client }: Engine,
  changes: Partial<engineV1.SessionOptions> = {},
  replace = true,
): Promise<engineV1.OpenSessionResponse> =>
  call(client, client.openSession as Method<engineV1.OpenSessionRequest, engineV1.OpenSessionResponse>, {
    options: options(changes),
    owner: 'test',
    replace,
  });

function sendTokens(
  { client }: Engine,
  sessionId: string,
  changes: Partial<engineV1.TokenShard> = {},
  cut = 1000,
): Promise<engineV1.LoadTrainingTokensResponse> {
  const shards = [{ digest: digestOf(ids), tokenCount: 6400n, file: '', ...changes }];
  const requests: engineV1.LoadTrainingTokensRequest[] = [{ sessionId, sources: [{ parts: 1, shards }], chunk: ids.subarray(0, cut) }];
  for (let at = cut; at < ids.byteLength; at += cut) requests.push({ sessionId: '', sources: [], chunk: ids.subarray(at, at + cut) });
  return upload<engineV1.LoadTrainingTokensRequest, engineV1.LoadTrainingTokensResponse>(client, client.loadTrainingTokens, requests);
}

function initialise({ client }: Engine, sessionId: string): Promise<engineV1.InitialiseStateResponse> {
  return call(client, client.initialiseState as Method<engineV1.InitialiseStateRequest, engineV1.InitialiseStateResponse>, {
    sessionId,
    seed: 7n,
    shape: undefined,
    closed: 0,
  });
}

const segment = (
  sessionId: string,
  firstStep: number,
  stepCount: number,
  changes: Partial<engineV1.TrainRequest> = {},
): engineV1.TrainRequest => ({
  sessionId,
  firstStep: BigInt(firstStep),
  settings: trainingSettings(),
  losses: engineV1.Losses.fromPartial({ layerWeight: 0.9, klWeight: 0.1, lmWeight: 0, temperature: 2 / 3 }),
  oneShot: undefined,
  teacherFiles: [],
  freezeMasks: false,
  momentsFromStep: 0n,
  loraLearningRate: Array(stepCount).fill(1e-3) as number[],
  scheduledSparsity: Array(stepCount).fill(0.3) as number[],
  segmentSteps: 0,
  segmentSeconds: 0,
  maxSegments: 0,
  marks: [],
  teachers: [],
  returnStates: true,
  stateFile: '',
  reportIntervalMs: 200,
  trainingId: '',
  messagesTaken: 0n,
  holdInPartsOf: 0,
  ...changes,
});

/** The steps and the outcome of the last segment. */
function trained(messages: engineV1.TrainResponse[]): {
  steps: engineV1.StepReport[];
  outcome: engineV1.SegmentOutcome;
  end: engineV1.TrainingEnd;
  state: Buffer;
} {
  return {
    steps: messages.flatMap((message) => message.steps),
    outcome: messages.findLast((message) => message.segments.length > 0)!.segments.at(-1)!,
    end: messages.at(-1)!.end!,
    state: Buffer.concat(messages.map((message) => message.stateChunk)),
  };
}

/** A cancelled call lets the engine go soon after. */
async function free(engine: Engine, sessionId: string): Promise<void> {
  for (const end = Date.now() + 120_000; ;) {
    const answer = await initialise(engine, sessionId).catch((error: unknown) => error);
    if (!(answer instanceof Error)) return;
    expect(answer).toEqual(refused('ENGINE_BUSY'));
    expect(Date.now()).toBeLessThan(end);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function evaluate({ client }: Engine, request: Partial<engineV1.EvaluateRequest>): Promise<engineV1.EvaluateResponse[]> {
  const stream = client.evaluate();
  const empty = {
    sessionId: '',
    modelPath: '',
    intact: false,
    window: 0,
    computeDtype: 0,
    tokens: Buffer.alloc(0),
    unstructured: undefined,
  };
  stream.write({ ...empty, window: 64, tokens: ids.subarray(0, 4001), ...request }); // cut in the middle of a token
  stream.write({ ...empty, tokens: ids.subarray(4001) });
  stream.end();
  return all(stream);
}

function score({ client }: Engine, requests: Partial<engineV1.ScoreRequest>[]): Promise<engineV1.ScoreResponse[]> {
  const stream = client.score();
  for (const request of requests) stream.write(engineV1.ScoreRequest.fromPartial(request));
  stream.end();
  return all(stream);
}

/** The texts that follow the prompts, joined from the pieces that the engine sends. */
async function texts({ client }: Engine, request: Partial<engineV1.GenerateRequest>): Promise<string[]> {
  const full = engineV1.GenerateRequest.fromPartial({ tokenizerPath: tinyModel, maxTokens: 12, ...request });
  const messages = await all(client.generate(full));
  const made = full.prompts.map(() => '');
  for (const { prompt, text } of messages.flatMap(({ pieces }) => pieces)) made[prompt] = `${made[prompt]}${text}`;
  expect(messages.at(-1)!.outcome!.generatedTokens).toBeGreaterThan(0n);
  return made;
}

const refused = (code: string, ...fields: string[]): unknown =>
  expect.objectContaining({
    code,
    ...(fields.length > 0 ? { violations: fields.map((field): unknown => expect.objectContaining({ field }) as unknown) } : {}),
  } satisfies Partial<Record<keyof EspalierError, unknown>>);

async function ready(): Promise<{ engine: Engine; sessionId: string }> {
  const engine = await start();
  const { sessionId } = await openSession(engine);
  await sendTokens(engine, sessionId);
  await initialise(engine, sessionId);
  return { engine, sessionId };
}

describe('one engine', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await start();
  });

  test('answers health checks and describes itself', async () => {
    const Health = makeClientConstructor(healthService, 'Health');
    const health = new Health(`unix:${engine.socket}`, credentials.createInsecure()) as unknown as {
      check: Method<unknown, { status: string }>;
      close(): void;
    };
    for (const service of ['', 'espalier.engine.v1.EngineService']) {
      const answer = await new Promise<{ status: string }>((resolve, reject) =>
        health.check({ service }, (error, response) => (error ? reject(error) : resolve(response))),
      );
      expect(answer.status).toBe('SERVING');
    }
    health.close();
    const about = await call(
      engine.client,
      engine.client.describeEngine as Method<engineV1.DescribeEngineRequest, engineV1.DescribeEngineResponse>,
      {},
    );
    expect(about).toMatchObject({ backend: 'cpu', threads: 1, sessionId: '' });
    expect(about.devices).toContainEqual(expect.objectContaining({ name: 'cpu', model: about.device, problem: '' }));
    expect(about.build).toContain('sources');
    expect(about.engineVersion).toMatch(/^\d+\.\d+\.\d+/);
    expect(about.residentBytes).toBeGreaterThan(10_000_000n);
    expect(about.release).toBe(releaseOf(about.engineVersion));
  });

  test('inspects models and plans memory without a session', async () => {
    const { model } = await call(
      engine.client,
      engine.client.inspectModel as Method<engineV1.InspectModelRequest, engineV1.InspectModelResponse>,
      { modelPath: tinyModel, skipWeights: false },
    );
    expect(model).toMatchObject({ architecture: 'LlamaForCausalLM', parameterCount: 254400n, dtype: 'bf16', bosTokenId: 1n });
    const plan = await call(engine.client, engine.client.planMemory as Method<engineV1.PlanMemoryRequest, engineV1.PlanMemoryResponse>, {
      options: options(),
    });
    expect(plan.totalBytes).toBeGreaterThan(plan.weightsBytes);
  });

  test('plans for the place of the session that is open', async () => {
    const plan = (changes: Partial<engineV1.SessionOptions> = {}) =>
      call(engine.client, engine.client.planMemory as Method<engineV1.PlanMemoryRequest, engineV1.PlanMemoryResponse>, {
        options: options(changes),
      });
    const before = await plan();
    // The session takes gigabytes and touches none before it trains: so they count twice here, and other processes don't matter.
    const { memory } = await openSession(engine, {
      settings: sessionSettings({ batchSize: 1024, sequenceLength: 512 }),
      memoryLimitBytes: 1n << 50n,
    });
    const now = await plan();
    expect(now.totalBytes).toBe(before.totalBytes);
    expect(memory!.totalBytes).toBeGreaterThan(before.totalBytes * 20n);
    expect(now.availableBytes).toBeGreaterThan(before.availableBytes + memory!.totalBytes / 2n);
  });

  test('trains, hands out its state, resumes from it, and takes teachers', async () => {
    const opened = await openSession(engine);
    const { sessionId } = opened;
    expect(opened.numericsFingerprint).toContain('cpu');
    expect(opened.memory!.totalBytes).toBeGreaterThan(0n);
    expect(opened.teachersKept).toBe(64);
    expect(await sendTokens(engine, sessionId)).toEqual({ tokenCount: 6400n, rowCount: 200n });
    const fresh = await initialise(engine, sessionId);
    expect(fresh.state).toMatchObject({ step: 0n, hiddenOpen: 64n });
    const whole = trained(await all(engine.client.train(segment(sessionId, 0, 20))));
    expect(whole.steps.map((step) => step.step)).toEqual(Array.from({ length: 20 }, (_, i) => BigInt(i)));
    expect(whole.steps[0]!.lmLoss).toBeUndefined();
    expect(whole.outcome).toMatchObject({ stepsDone: 20n, stateBytes: BigInt(whole.state.byteLength) });
    expect(whole.end).toEqual({ stopped: false, teacherDigests: [] });
    expect(digestOf(whole.state)).toBe(whole.outcome.state!.digest);

    await initialise(engine, sessionId);
    const first = trained(await all(engine.client.train(segment(sessionId, 0, 7))));
    const again = await openSession(engine);
    expect(again.sessionId).not.toBe(sessionId);
    await sendTokens(engine, again.sessionId);
    const importing = (digest: string): Promise<engineV1.ImportStateResponse> =>
      upload<engineV1.ImportStateRequest, engineV1.ImportStateResponse>(engine.client, engine.client.importState, [
        { sessionId: again.sessionId, digest, chunk: first.state.subarray(0, 100), addresses: [], stateFile: '' },
        { sessionId: '', digest: '', chunk: first.state.subarray(100), addresses: [], stateFile: '' },
      ]);
    await expect(importing('0'.repeat(64))).rejects.toEqual(refused('STATE_CORRUPT', 'digest'));
    expect((await importing(first.outcome.state!.digest)).state!.digest).toBe(first.outcome.state!.digest);
    const second = trained(await all(engine.client.train(segment(again.sessionId, 7, 13))));
    expect(second.outcome.state!.digest).toBe(whole.outcome.state!.digest);
    expect(Buffer.from(second.state).equals(whole.state)).toBe(true);

    const { digest } = first.outcome.state!;
    const teachers = [
      { firstStep: 20n, digest: '' },
      { firstStep: 21n, digest },
    ];
    const untaught = all(engine.client.train(segment(again.sessionId, 20, 2, { teachers })));
    await expect(untaught).rejects.toEqual(refused('TEACHER_NOT_LOADED'));
    await upload<engineV1.LoadTeacherRequest, unknown>(engine.client, engine.client.loadTeacher, [
      { sessionId: again.sessionId, digest, chunk: first.state, addresses: [], stateFile: '' },
    ]);
    expect(trained(await all(engine.client.train(segment(again.sessionId, 20, 2, { teachers })))).outcome.stepsDone).toBe(2n);
  });

  test('trains segment after segment: the states are those of segments asked for one by one', async () => {
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    const single: engineV1.StateSummary[] = [];
    for (const [from, count] of [
      [0, 8],
      [8, 8],
      [16, 4],
    ] as const)
      single.push(trained(await all(engine.client.train(segment(sessionId, from, count)))).outcome.state!);
    await initialise(engine, sessionId);
    const together = await all(engine.client.train(segment(sessionId, 0, 20, { segmentSteps: 8 })));
    expect(together.flatMap(({ segments }) => segments.map(({ state }) => state))).toEqual(single);
    // The bytes of the states follow one another, in their order.
    const bytes = Buffer.concat(together.map(({ stateChunk }) => stateChunk));
    const sizes = together.flatMap(({ segments }) => segments.map(({ stateBytes }) => Number(stateBytes)));
    sizes.reduce((from, size, index) => {
      expect(digestOf(bytes.subarray(from, from + size))).toBe(single[index]!.digest);
      return from + size;
    }, 0);
    expect(sizes).toHaveLength(3);
  });

  test('a segment lasts no longer than it may, whatever a step takes, and the states are those of an uncut training', async () => {
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    const train = async (segmentSeconds: number): Promise<engineV1.SegmentOutcome[]> => {
      await initialise(engine, sessionId);
      return (await all(engine.client.train(segment(sessionId, 0, 100, { segmentSeconds, returnStates: false })))).flatMap(
        ({ segments }) => segments,
      );
    };
    const [whole] = await train(0);
    const stepSeconds = whole!.seconds / 100;
    const limited = await train(8 * stepSeconds);
    expect(limited.reduce((sum, { stepsDone }) => sum + Number(stepsDone), 0)).toBe(100);
    expect(limited.length).toBeGreaterThan(4);
    expect(limited.at(-1)!.state!.digest).toBe(whole!.state!.digest);
    // The time is too short for one step, yet each segment has one.
    const shortest = await train(1e-9);
    expect(shortest.map(({ stepsDone }) => Number(stepsDone))).toEqual(Array(100).fill(1));
    expect(shortest.at(-1)!.state!.digest).toBe(whole!.state!.digest);
  });

  test('a segment ends at the next mark, its state is a teacher, and the one named for the mark takes over', async () => {
    const rising = (sessionId: string, steps: number, changes: Partial<engineV1.TrainRequest>): engineV1.TrainRequest =>
      segment(sessionId, 0, steps, {
        scheduledSparsity: Array(steps).fill(0.9) as number[],
        settings: trainingSettings({ lambdaLearningRate: 5 }),
        returnStates: false,
        ...changes,
      });
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    const first = trained(
      await all(engine.client.train(rising(sessionId, 200, { marks: [{ expectedSparsity: 0.02, teacherDigest: undefined }] }))),
    );
    const { digest, step, expectedSparsity } = first.outcome.state!;
    expect(first.end).toEqual({ stopped: false, teacherDigests: [digest] });
    expect(expectedSparsity).toBeGreaterThanOrEqual(0.02);
    expect(first.steps.slice(0, -1).every((report) => report.expectedSparsity < 0.02)).toBe(true);

    await initialise(engine, sessionId);
    const marks = [
      { expectedSparsity: 0.02, teacherDigest: digest },
      { expectedSparsity: 0.05, teacherDigest: undefined },
    ];
    const over = await all(engine.client.train(rising(sessionId, 200, { marks })));
    const [atFirst, atSecond] = over.flatMap(({ segments }) => segments.map(({ state }) => state!));
    expect(atFirst!.digest).toBe(digest);
    expect(atSecond!.expectedSparsity).toBeGreaterThanOrEqual(0.05);

    // The same teacher, named before its digest is known, with and without a digest that is made beside the steps.
    for (const returnStates of [false, true]) {
      await initialise(engine, sessionId);
      const own = [{ expectedSparsity: 0.02, teacherDigest: undefined, teacherMark: 0 }, marks[1]!];
      const segments = (await all(engine.client.train(rising(sessionId, 200, { marks: own, returnStates })))).flatMap(
        (one) => one.segments,
      );
      expect(segments.map(({ state }) => state!.digest)).toEqual([digest, atSecond!.digest]);
    }

    await initialise(engine, sessionId);
    const teachers = [
      { firstStep: 0n, digest: '' },
      { firstStep: step, digest },
    ];
    const told = trained(await all(engine.client.train(rising(sessionId, Number(atSecond!.step), { teachers }))));
    expect(told.outcome.state!.digest).toBe(atSecond!.digest);
    await initialise(engine, sessionId);
    const untold = trained(await all(engine.client.train(rising(sessionId, Number(atSecond!.step), {}))));
    expect(untold.outcome.state!.digest).not.toBe(atSecond!.digest);

    // After a mark the segments no longer end at multiples of their length, but the call still ends with a whole segment.
    await initialise(engine, sessionId);
    const segmentSteps = Number(step) + 4;
    const twoAtMost = await all(
      engine.client.train(rising(sessionId, 2 * segmentSteps, { marks: marks.slice(0, 1), segmentSteps, maxSegments: 2 })),
    );
    expect(twoAtMost.flatMap(({ segments }) => segments.map(({ stepsDone }) => Number(stepsDone)))).toEqual([Number(step), segmentSteps]);
  });

  test('StopTraining can wait for the end of the segment', async () => {
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    let asked: Promise<unknown> | undefined;
    const { outcome, end } = trained(
      await all(
        engine.client.train(segment(sessionId, 0, 20_000, { segmentSteps: 100, reportIntervalMs: 20, returnStates: false })),
        () => {
          asked ??= call(engine.client, engine.client.stopTraining as Method<engineV1.StopTrainingRequest, unknown>, {
            sessionId,
            finishSegment: true,
          });
        },
      ),
    );
    await asked;
    expect(end.stopped).toBe(false);
    expect(outcome.stepsDone).toBe(100n);
    expect(Number(outcome.state!.step)).toBeLessThan(20_000);
  });

  test("writes states to files that do not exist yet; where it can't, the bytes come back", async () => {
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    const stateFile = join(folder, 'state');
    writeFileSync(`${stateFile}-4`, 'in the way');
    const written = await all(engine.client.train(segment(sessionId, 0, 6, { stateFile, segmentSteps: 2 })));
    const outcomes = written.flatMap(({ segments }) => segments);
    expect(outcomes.map((one) => one.stateFile)).toEqual([`${stateFile}-2`, '', `${stateFile}-6`]);
    for (const one of [outcomes[0]!, outcomes[2]!]) expect(digestOf(readFileSync(one.stateFile))).toBe(one.state!.digest);
    expect(digestOf(trained(written).state)).toBe(outcomes[1]!.state!.digest);
    expect(readFileSync(`${stateFile}-4`, 'utf8')).toBe('in the way');
    const nowhere = trained(await all(engine.client.train(segment(sessionId, 6, 2, { stateFile: join(folder, 'nowhere', 'state') }))));
    expect(digestOf(nowhere.state)).toBe(nowhere.outcome.state!.digest);
    const relative = all(engine.client.train(segment(sessionId, 8, 1, { stateFile: 'state' })));
    await expect(relative).rejects.toEqual(refused('FIELD_OUT_OF_RANGE', 'state_file'));
  });

  test('a client that leaves before it is told of states finds no files of them', async () => {
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    const stateFile = join(folder, 'left');
    const written = (): string[] => readdirSync(folder).filter((name) => name.startsWith('left-'));
    const stream = engine.client.train(segment(sessionId, 0, 20_000, { stateFile, segmentSteps: 2, reportIntervalMs: 600_000 }));
    const failures: Error[] = [];
    stream.on('error', (error) => failures.push(error));
    while (written().length < 3) {
      expect(failures).toEqual([]);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    stream.cancel();
    await free(engine, sessionId);
    while (written().length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  test('a client that takes no more bytes of states keeps no other client waiting after it has gone', async () => {
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    const stream = engine.client.train(segment(sessionId, 0, 20_000, { segmentSteps: 1 }));
    await firstMessage(stream);
    stream.pause();
    stream.on('error', () => undefined).cancel();
    await free(engine, sessionId);
  });

  test('evaluates state, intact model and folder; the exported folder is the masked student', async () => {
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    await all(engine.client.train(segment(sessionId, 0, 30, { returnStates: true, stateFile: join(folder, 'state') })));
    const outcomeOf = async (request: Partial<engineV1.EvaluateRequest>): Promise<engineV1.EvaluationOutcome> =>
      (await evaluate(engine, request)).at(-1)!.outcome!;
    const masked = await outcomeOf({ sessionId });
    expect(masked.predictions).toBe(6300n);
    const intact = await outcomeOf({ sessionId, intact: true });
    expect((await outcomeOf({ modelPath: tinyModel })).perplexity).toBe(intact.perplexity);
    expect(intact.perplexity).not.toBe(masked.perplexity);

    const out = join(folder, 'exported');
    const messages = await all(
      engine.client.exportModel(
        engineV1.ExportModelRequest.fromPartial({
          modelPath: tinyModel,
          stateFile: join(folder, 'state-30'),
          outFolder: out,
          form: engineV1.ExportForm.EXPORT_FORM_COMPACTED,
          dtype: 'f32',
          modelCard: '# card',
        }),
      ),
    );
    expect(messages.at(-1)!.outcome!.parameterCount).toBeGreaterThan(0n);
    const exported = await outcomeOf({ modelPath: out });
    expect(Math.abs(exported.negativeLogLikelihood - masked.negativeLogLikelihood)).toBeLessThan(1e-5);
    const text = await texts(engine, { sessionId, prompts: ['Once upon', 'The'] });
    expect(await texts(engine, { modelPath: out, prompts: ['Once upon', 'The'] })).toEqual(text);
    expect(await texts(engine, { sessionId, intact: true, prompts: ['Once upon', 'The'] })).not.toEqual(text);
  });

  test('scores sequences as it evaluates them, batch after batch', async () => {
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    await all(engine.client.train(segment(sessionId, 0, 30, { returnStates: false })));
    const lengths = Array<number>(50).fill(64);
    const batch = (first: number): Partial<engineV1.ScoreRequest> => ({
      tokens: ids.subarray(first * 64 * 4, (first + 50) * 64 * 4),
      lengths,
      scored: Array<number>(50).fill(63),
    });
    for (const request of [{ sessionId }, { sessionId, intact: true }, { modelPath: tinyModel }]) {
      const scored = (await score(engine, [{ ...request, ...batch(0) }, batch(50)])).filter((one) => one.logLikelihoods.length > 0);
      expect(scored.map((one) => one.greedy.byteLength)).toEqual([50, 50]);
      const sum = scored.flatMap((one) => one.logLikelihoods).reduce((total, one) => total + one, 0);
      const evaluated = (await evaluate(engine, request)).at(-1)!.outcome!;
      expect(sum / 6300).toBeCloseTo(-evaluated.negativeLogLikelihood, 5);
    }
    await expect(score(engine, [{ sessionId, lengths: [] }])).rejects.toEqual(refused('FIELD_REQUIRED', 'lengths'));
    await expect(score(engine, [{ sessionId, ...batch(0), lengths: lengths.slice(1) }])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await initialise(engine, sessionId); // the engine is free again
  });

  test('a text ends at a stop text, at its length, or when its client has gone, and the engine is free again', async () => {
    const { sessionId } = await openSession(engine);
    const intact = { sessionId, intact: true, maxTokens: 40 };
    const [whole] = await texts(engine, { ...intact, prompts: ['Once upon'] });
    const stop = whole!.slice(10, 14);
    expect(await texts(engine, { ...intact, prompts: ['Once upon', 'The'], stop: [stop] })).toEqual([
      whole!.slice(0, whole!.indexOf(stop)),
      expect.not.stringContaining(stop),
    ]);
    const endless = engineV1.GenerateRequest.fromPartial({
      ...intact,
      tokenizerPath: tinyModel,
      maxTokens: 500,
      prompts: Array<string>(64).fill('The'),
    });
    const stream = engine.client.generate(endless);
    await firstMessage(stream);
    stream.on('error', () => undefined).cancel();
    await free(engine, sessionId);
  });

  test('a prompt that no text can follow is named', async () => {
    const { sessionId } = await openSession(engine);
    const asked = (request: Partial<engineV1.GenerateRequest>) => texts(engine, { sessionId, intact: true, ...request });
    await expect(asked({ prompts: [] })).rejects.toEqual(refused('FIELD_REQUIRED', 'prompts'));
    await expect(asked({ prompts: ['a', 'b '.repeat(600)] })).rejects.toEqual(refused('INVALID_ARGUMENT', 'prompts[1]'));
    await expect(asked({ prompts: ['a'], tokenizerPath: folder })).rejects.toMatchObject({ code: 'TOKENIZER_NOT_FOUND' });
    await expect(texts(engine, { sessionId, prompts: ['a'] })).resolves.toHaveLength(1);
  });

  test('an evaluation without a finite value is not a result', async () => {
    const broken = join(folder, 'not-finite');
    cpSync(tinyModel, broken, { recursive: true });
    const path = join(broken, 'model.safetensors');
    const bytes = readFileSync(path);
    bytes.writeUInt16LE(0x7fc0, bytes.byteLength - 2); // NaN
    writeFileSync(path, bytes);
    await expect(evaluate(engine, { modelPath: broken })).rejects.toMatchObject({ code: 'EVALUATION_NOT_FINITE' });
  });

  test('refuses what it cannot do, naming the field, and goes on', async () => {
    const { client } = engine;
    const inspect = (modelPath: string): Promise<unknown> =>
      call(client, client.inspectModel as Method<engineV1.InspectModelRequest, unknown>, { modelPath, skipWeights: false });
    await expect(inspect('')).rejects.toEqual(refused('FIELD_REQUIRED', 'model_path'));
    execFileSync('mkfifo', [join(folder, 'config.json')]);
    await expect(inspect(folder)).rejects.toEqual(refused('FILE_NOT_REGULAR', 'config.json'));
    rmSync(join(folder, 'config.json'));
    await expect(inspect(join(folder, 'nothing'))).rejects.toEqual(refused('MODEL_NOT_FOUND', 'model_path'));
    const openedWith = (changes: Partial<v1.RunSettings>): Promise<unknown> => openSession(engine, { settings: sessionSettings(changes) });
    await expect(openedWith({ batchSize: 0 })).rejects.toEqual(refused('FIELD_OUT_OF_RANGE', 'options.settings.batch_size'));
    await expect(openedWith({ batchSize: undefined, loraTargets: ['x_proj'] })).rejects.toEqual(
      refused('REQUEST_INVALID', 'options.settings.batch_size', 'options.settings.lora_targets'),
    );
    await expect(openedWith({ microShards: 3 })).rejects.toEqual(refused('FIELD_OUT_OF_RANGE', 'options.settings.micro_shards'));
    await expect(openedWith({ sequenceLength: 100_000 })).rejects.toEqual(refused('INVALID_ARGUMENT', 'sequence_length'));
    await expect(openSession(engine, { memoryLimitBytes: 1000n })).rejects.toEqual(refused('OUT_OF_MEMORY', 'memory_limit_bytes'));
    await expect(openSession(engine, { weightsDigest: 'f'.repeat(64) })).rejects.toEqual(refused('MODEL_CHANGED', 'weights_digest'));
    await expect(all(client.train(segment('nobody', 0, 1)))).rejects.toEqual(refused('SESSION_NOT_FOUND', 'session_id'));
    const { sessionId } = await openSession(engine);
    await expect(openSession(engine, {}, false)).rejects.toEqual(refused('SESSION_ALREADY_OPEN'));
    await expect(sendTokens(engine, 'nobody')).rejects.toEqual(refused('SESSION_NOT_FOUND', 'session_id'));
    await expect(sendTokens(engine, sessionId, { digest: '0'.repeat(64) })).rejects.toEqual(refused('STATE_CORRUPT', 'sources'));
    await expect(sendTokens(engine, sessionId, { tokenCount: 6399n })).rejects.toEqual(refused('STATE_CORRUPT', 'sources'));
    await expect(sendTokens(engine, sessionId, { tokenCount: 6401n })).rejects.toEqual(refused('FIELD_OUT_OF_RANGE', 'chunk'));
    await expect(sendTokens(engine, sessionId, { tokenCount: 2n ** 63n })).rejects.toEqual(
      refused('FIELD_OUT_OF_RANGE', 'sources[0].shards'),
    );
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    await expect(all(client.train(segment(sessionId, 5, 1)))).rejects.toEqual(refused('INVALID_ARGUMENT', 'first_step'));
    await expect(all(client.train(segment(sessionId, 0, 2, { scheduledSparsity: [] })))).rejects.toEqual(
      refused('INVALID_ARGUMENT', 'scheduled_sparsity'),
    );
    await expect(all(client.train(segment(sessionId, 0, 1, { losses: undefined })))).rejects.toEqual(refused('FIELD_REQUIRED', 'losses'));
    await expect(all(client.train(segment(sessionId, 0, 1, { settings: trainingSettings({ seed: undefined }) })))).rejects.toEqual(
      refused('FIELD_REQUIRED', 'settings.seed'),
    );
    const taughtBy = (...teachers: engineV1.TeacherStretch[]): Promise<unknown> =>
      all(client.train(segment(sessionId, 0, 2, { teachers })));
    await expect(taughtBy({ firstStep: 1n, digest: '' })).rejects.toEqual(refused('INVALID_ARGUMENT', 'teachers'));
    await expect(taughtBy({ firstStep: 0n, digest: '' }, { firstStep: 1n, digest: 'short' })).rejects.toEqual(
      refused('FIELD_OUT_OF_RANGE', 'teachers[1].digest'),
    );
    const marked = (...marks: engineV1.Mark[]): Promise<unknown> => all(client.train(segment(sessionId, 0, 2, { marks })));
    await expect(marked({ expectedSparsity: 0.2, teacherDigest: '' }, { expectedSparsity: 0.2, teacherDigest: '' })).rejects.toEqual(
      refused('FIELD_OUT_OF_RANGE', 'marks[1].expected_sparsity'),
    );
    await expect(marked({ expectedSparsity: 0.2, teacherDigest: 'short' })).rejects.toEqual(
      refused('FIELD_OUT_OF_RANGE', 'marks[0].teacher_digest'),
    );
    await expect(marked({ expectedSparsity: 0.2, teacherDigest: undefined, teacherMark: 1 })).rejects.toEqual(
      refused('FIELD_OUT_OF_RANGE', 'marks[0].teacher_mark'),
    );
    await expect(marked({ expectedSparsity: 0.2, teacherDigest: '', teacherMark: 0 })).rejects.toEqual(
      refused('REQUEST_INVALID', 'marks[0].teacher_mark'),
    );
    const exporting = (request: Partial<engineV1.ExportModelRequest>): Promise<unknown> => {
      const files = { modelPath: tinyModel, stateFile: join(folder, 'no-state'), outFolder: join(folder, 'no-export') };
      return all(client.exportModel(engineV1.ExportModelRequest.fromPartial({ ...files, ...request })));
    };
    const form = engineV1.ExportForm.EXPORT_FORM_COMPACTED;
    await expect(exporting({})).rejects.toEqual(refused('FIELD_UNKNOWN_VALUE', 'form'));
    await expect(exporting({ form, container: 9 as engineV1.ExportContainer })).rejects.toEqual(
      refused('FIELD_UNKNOWN_VALUE', 'container'),
    );
    await expect(exporting({ form, outFolder: 'here' })).rejects.toEqual(refused('FIELD_OUT_OF_RANGE', 'out_folder'));
    await expect(exporting({ form })).rejects.toEqual(refused('STATE_CORRUPT', 'state_file'));
    await expect(exporting({ form, weightsDigest: 'another' })).rejects.toEqual(refused('MODEL_CHANGED', 'weights_digest'));
    await expect(evaluate(engine, { sessionId, window: 1 })).rejects.toEqual(refused('INVALID_ARGUMENT', 'window'));
    const bytes = Buffer.alloc(8 << 20);
    await expect(
      upload<engineV1.ImportStateRequest, unknown>(client, client.importState as never, [
        { sessionId, digest: '', chunk: bytes, addresses: [], stateFile: '' },
      ]),
    ).rejects.toEqual(refused('STATE_CORRUPT', 'state'));
    expect(trained(await all(client.train(segment(sessionId, 0, 1)))).outcome.stepsDone).toBe(1n);
    expect(engine.log.filter((line) => line['code'] === 'INTERNAL')).toEqual([]);
  });

  test('bytes that are not gRPC do not disturb it', async () => {
    for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\0'.repeat(5000), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + '\xff'.repeat(300)]) {
      await new Promise<void>((resolve) => {
        const socket = connect(engine.socket, () => socket.end(bytes));
        socket
          .on('close', () => resolve())
          .on('error', () => undefined)
          .resume();
        setTimeout(() => socket.destroy(), 300);
      });
    }
    expect((await openSession(engine)).sessionId).not.toBe('');
  });
});

test('StopTraining ends it at a step boundary, outcome and state still come', async () => {
  const { engine, sessionId } = await ready();
  const stream = engine.client.train(segment(sessionId, 0, 20_000));
  let stopping: Promise<unknown> | undefined;
  const { steps, outcome, end, state } = trained(
    await all(stream, () => {
      stopping ??= Promise.all([
        expect(initialise(engine, sessionId)).rejects.toEqual(refused('ENGINE_BUSY')),
        call(engine.client, engine.client.stopTraining as Method<engineV1.StopTrainingRequest, unknown>, {
          sessionId,
          finishSegment: false,
        }),
      ]);
    }),
  );
  await stopping;
  expect(end.stopped).toBe(true);
  expect(Number(outcome.stepsDone)).toBe(steps.length);
  expect(steps.length).toBeLessThan(20_000);
  expect(digestOf(state)).toBe(outcome.state!.digest);

  // A cancelled call ends it too, and the engine is free again soon after.
  const cancelled = engine.client.train(segment(sessionId, steps.length, 20_000));
  await expect(all(cancelled, () => cancelled.cancel())).rejects.toMatchObject({ code: 'CANCELLED' });
  await free(engine, sessionId);

  // A new session replaces one that trains.
  let next: Promise<engineV1.OpenSessionResponse> | undefined;
  const replaced = trained(
    await all(engine.client.train(segment(sessionId, 0, 20_000)), () => {
      next ??= openSession(engine);
    }),
  );
  expect(replaced.end.stopped).toBe(true);
  expect((await next!).sessionId).not.toBe(sessionId);
});

describe('the end', () => {
  test('SIGTERM: the running segment stops at a step and its outcome is delivered', async () => {
    const { engine, sessionId } = await ready();
    const stream = engine.client.train(segment(sessionId, 0, 20_000));
    const { steps, outcome, end, state } = trained(await all(stream, () => engine.child.kill('SIGTERM')));
    expect(end.stopped).toBe(true);
    expect(outcome.stepsDone).toBe(BigInt(steps.length));
    expect(digestOf(state)).toBe(outcome.state!.digest);
    expect(await engine.ended).toEqual([0, null]);
    expect(existsSync(engine.socket)).toBe(false);
  });

  test('it goes with its parent, also in the middle of a segment', async () => {
    const engine = await start('--exit-with-stdin');
    const { sessionId } = await openSession(engine);
    await sendTokens(engine, sessionId);
    await initialise(engine, sessionId);
    const stream = engine.client.train(segment(sessionId, 0, 20_000));
    await firstMessage(stream);
    stream.on('error', () => undefined);
    engine.child.stdin!.end();
    expect(await engine.ended).toEqual([0, null]);
  });

  test('after kill -9 a new engine takes over the address and clears the remains', async () => {
    const first = await start();
    const remains = join(folder, 'scratch', `espalier-engine-${ownerName(first.child.pid)!}.0a1b2c3d.folder`);
    first.child.kill('SIGKILL');
    await first.ended;
    expect(existsSync(first.socket)).toBe(true);
    mkdirSync(remains, { recursive: true });
    count--;
    const second = await start();
    expect(second.socket).toBe(first.socket);
    expect((await openSession(second)).sessionId).not.toBe('');
    expect(existsSync(remains)).toBe(false);
  });

  test('a mistake on the command line is told and ends with 2', async () => {
    const child = spawn(process.execPath, [entry, '--listen', 'nonsense'], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(2);
    expect(said).toContain('--listen nonsense');
  });
});
