// Tests answers that a broken or hostile engine gives, at a server that answers in its place. Each call ends with an error, whatever comes.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { engineV1 } from '#protocol';
import { FarEngineClient } from './far-client.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-far-'));
const model = { modelPath: folder } as engineV1.SessionOptions;
const ended = new AbortController().signal;
const failed = (words: RegExp): object => ({ code: 'ENGINE_FAILED', message: expect.stringMatching(words) as string });
/** A message with these steps. */
const steps = (...reported: number[]): object =>
  engineV1.TrainResponse.fromPartial({ steps: reported.map((step) => ({ step: BigInt(step) })) });
let server: Server;
let client: FarEngineClient;

beforeAll(() => writeFileSync(join(folder, 'config.json'), '{}'));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  client.close();
  server.forceShutdown();
});

interface Call {
  write(message: object): boolean;
  end(): void;
  on(event: string, listener: (message: never) => void): void;
}

/** @param answers the handlers by method; one of a stream writes its answers, and another returns its one */
async function engine(answers: Record<string, (call: Call) => unknown>): Promise<void> {
  server = new Server();
  const handlers = Object.entries(answers).map(([method, answer]) => [
    method,
    (call: Call, callback?: (error: null, message: object) => void) => {
      const message = answer(call);
      callback?.(null, message as object);
    },
  ]);
  server.addService(engineV1.EngineServiceService, Object.fromEntries(handlers) as UntypedServiceImplementation);
  const address = `unix:${join(folder, 'socket')}`;
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(address, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error))),
  );
  client = new FarEngineClient(address);
}

async function read(messages: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of messages);
}

/** Writes a message again and again, as long as the other side reads. */
function forever(call: Call, message: object): void {
  const next = (): void => {
    while (call.write(message));
  };
  call.on('drain', next);
  next();
}

test.each([
  ['a file that it has just got', ['config.json']],
  ['a file that the model does not have', ['weights of another']],
])('an engine that always lacks %s', async (_, missing) => {
  let files = 0;
  await engine({
    offerModel: () => ({ modelPath: 'model:1', missing }),
    sendModelFile: (call) => {
      files += 1;
      call.write({ bytesHere: 2n, complete: true });
    },
  });
  await expect(client.openSession(model, 'run', 5_000)).rejects.toMatchObject(failed(/lacks/));
  expect(files).toBeLessThan(4);
});

test.each([
  ['never end', (call: Call) => forever(call, steps(0, 1, 2, 3, 4, 5, 6, 7))],
  ['are left out', (call: Call) => call.write(steps(1))],
  ['come after the last one', (call: Call) => call.write(steps(0, 1, 2))],
])('an engine whose steps %s', async (_, train) => {
  await engine({ train, stopTraining: () => ({}), confirmTraining: () => ({}) });
  const request = engineV1.TrainRequest.fromPartial({ firstStep: 0n, loraLearningRate: [0.1, 0.1] });
  await expect(read(client.train(request, ended))).rejects.toMatchObject(failed(/^the engine reported step [12] after step/));
});

test('an engine that sends more bytes of a state than it has announced', async () => {
  await engine({ sendState: (call) => forever(call, { chunk: Buffer.alloc(1_000) }) });
  const state = engineV1.StateSummary.fromPartial({ digest: 'a' });
  const outcome = { ...engineV1.SegmentOutcome.fromPartial({ stateBytes: 5_000n }), state };
  await expect(read(client.heldState(outcome))).rejects.toMatchObject(failed(/5000 bytes and sent more/));
});

test.each([
  ['too few', { logLikelihoods: [-1], greedy: Buffer.of(1) }],
  ['too many', { logLikelihoods: [-1, -1, -1], greedy: Buffer.of(1, 1, 1) }],
  ['half of the answers', { logLikelihoods: [-1, -1], greedy: Buffer.of(1) }],
])('an engine that scores %s', async (_, scores) => {
  await engine({ score: (call) => call.on('data', () => void call.write({ doneShare: 1, ...scores })) });
  const batches = async function* () {
    yield await Promise.resolve({ tokens: Uint32Array.of(1, 2, 3, 4), lengths: [2, 2], scored: [1, 1] });
  };
  const request = { sessionId: '', modelPath: '', intact: false, computeDtype: engineV1.ComputeDtype.COMPUTE_DTYPE_F32 };
  await expect(read(client.score(request, batches(), () => undefined, ended))).rejects.toMatchObject(failed(/of a batch of 2/));
});

test('an engine that describes itself at length', async () => {
  await engine({ describeEngine: () => engineV1.DescribeEngineResponse.fromPartial({ device: 'a processor'.repeat(10_000) }) });
  await expect(client.describe()).rejects.toMatchObject(failed(/DescribeEngineResponse of \d+ characters/));
});
