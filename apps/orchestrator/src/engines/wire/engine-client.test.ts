// Tests calls that must not reach an engine. A connection may have been given up: a caller that comes too late gets the reason as an error
// with a known code. An engine may be of an earlier release, and would drop a part of the request.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { engineV1, EspalierError } from '#protocol';
import { EngineClient } from './engine-client.js';

const reason = new EspalierError('ENGINE_LOST', 'the engine process ended: killed by SIGKILL');
const signal = new AbortController().signal;
async function* noBytes(): AsyncGenerator<Uint8Array> {}
async function read(messages: () => AsyncIterable<unknown>): Promise<void> {
  for await (const _ of messages());
}

const calls: [string, (client: EngineClient) => Promise<unknown>][] = [
  ['a health check', (client) => client.checkHealth(100)],
  ['a description', (client) => client.describe()],
  ['a plan', (client) => client.planMemory({} as engineV1.SessionOptions)],
  ['a session', (client) => client.openSession({} as engineV1.SessionOptions, 'run')],
  ['an upload', (client) => client.importState('session', 'digest', noBytes())],
  ['a training', (client) => read(() => client.train({} as engineV1.TrainRequest, signal))],
  ['an evaluation', (client) => client.evaluate({}, noBytes(), () => undefined, signal)],
  ['an export', (client) => read(() => client.exportModel({} as engineV1.ExportModelRequest, signal))],
];

test.each(calls)('%s after an engine was killed ends with what ended the engine', async (_, call) => {
  const client = new EngineClient('unix:/nowhere');
  client.close(reason);
  client.close(); // a second close keeps the first reason
  await expect(call(client)).rejects.toBe(reason);
});

test('without a reason it is a lost engine all the same', async () => {
  const client = new EngineClient('unix:/nowhere');
  client.close();
  await expect(client.describe()).rejects.toMatchObject({ code: 'ENGINE_LOST' });
});

describe('an engine of an earlier release', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-earlier-'));
  const address = `unix:${join(folder, 'engine.sock')}`;
  const got: string[] = [];
  const server = new Server();
  const refusal = 'the engine is older than the server and does not know';
  let client: EngineClient;

  beforeAll(async () => {
    server.addService(engineV1.EngineServiceService, {
      describeEngine: (_call: unknown, answer: (error: null, about: engineV1.DescribeEngineResponse) => void) =>
        answer(null, engineV1.DescribeEngineResponse.fromPartial({ backend: 'cpu' })),
      train: (call: { end(): void }) => {
        got.push('train');
        call.end();
      },
      stopTraining: (_call: unknown, answer: (error: null, done: object) => void) => {
        got.push('stopTraining');
        answer(null, {});
      },
    });
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(address, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve())),
    );
    client = new EngineClient(address);
    await client.describe();
  });
  afterAll(() => {
    client.close();
    server.forceShutdown();
    rmSync(folder, { recursive: true, force: true });
  });

  test('gets no training with a setting that it would drop, and what it knows is sent as ever', async () => {
    const training = (maskNoise: number) => client.train(engineV1.TrainRequest.fromPartial({ settings: { maskNoise } }), signal);
    await expect(read(() => training(0.3))).rejects.toMatchObject({
      code: 'ENGINE_OF_EARLIER_RELEASE',
      message: `${refusal} the setting mask_noise: update the engine, or launch with --mask-noise 1`,
      metadata: { problem: expect.stringMatching(/^is older than the server .* --mask-noise 1$/) as string },
    });
    expect(got).toEqual([]);
    await expect(read(() => training(1))).rejects.toThrow('the engine ended a training without saying where it got');
    await client.stopTraining('session');
    expect(got).toEqual(['train', 'stopTraining']);
  });
});
