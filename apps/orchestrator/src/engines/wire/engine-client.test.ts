// Tests calls that must not reach an engine. A connection may have been given up: a caller that comes too late gets the reason as an error
// with a known code.
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
  ['a session', (client) => client.openSession({} as engineV1.SessionOptions, 'run', 1_000)],
  ['an upload', (client) => client.importState('session', 'digest', { bytes: noBytes() })],
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
