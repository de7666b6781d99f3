import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelCredentials, Server, ServerCredentials, type ClientReadableStream } from '@grpc/grpc-js';
import { fromServiceError, serverStreaming, v1 } from '#protocol';
import { callLimits } from './call-limits.js';

const CHUNK_BYTES = 128 << 10;
const CHUNKS = 100;
/** Messages that a client of grpc-js takes though nobody asks for them. */
const READ_AHEAD = 16;

describe('calls that nobody reads', () => {
  const server = new Server({ interceptors: [callLimits({ ofOneClient: 3, inAll: 5 })] });
  const clients: v1.ArtifactServiceClient[] = [];
  let address: string;
  let made = 0;

  beforeAll(async () => {
    server.addService(v1.ArtifactServiceService, {
      downloadArtifact: serverStreaming(async function* (): AsyncGenerator<v1.DownloadArtifactResponse> {
        for (let index = 0; index < CHUNKS; index += 1) {
          made += 1;
          yield { totalBytes: 0n, chunk: Buffer.alloc(CHUNK_BYTES) };
        }
      }),
    } as never);
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    address = `127.0.0.1:${port}`;
  });
  afterAll(() => {
    for (const client of clients) client.close();
    server.forceShutdown();
  });

  function newClient(): v1.ArtifactServiceClient {
    const client = new v1.ArtifactServiceClient(address, ChannelCredentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    clients.push(client);
    return client;
  }

  type Call = ClientReadableStream<v1.DownloadArtifactResponse>;

  /** Once the server has begun to answer it, or refused it. */
  async function unread(client: v1.ArtifactServiceClient): Promise<{ call: Call; refusal: string | null }> {
    const call = client.downloadArtifact({ digest: '', offset: 0n }).pause();
    const refusal = await new Promise<string | null>((resolve) => {
      call.once('metadata', () => resolve(null));
      call.once('error', (error) => resolve(fromServiceError(error as never).code));
    });
    call.on('error', () => undefined); // it is cancelled below
    return { call, refusal };
  }

  async function until(holds: () => Promise<boolean>): Promise<void> {
    for (const end = Date.now() + 10_000; !(await holds());) {
      if (Date.now() > end) throw new Error('it never came to that');
      await sleep(20);
    }
  }

  it('hold a chunk or two each, and no more may be open than a client may have, and all', async () => {
    const [one, other] = [newClient(), newClient()];
    const calls = [];
    for (const client of [one, one, one]) calls.push(await unread(client));
    expect(calls.map(({ refusal }) => refusal)).toEqual([null, null, null]);
    await sleep(500);
    expect(made).toBeLessThanOrEqual((READ_AHEAD + 3) * calls.length);
    expect((await unread(one)).refusal).toBe('TOO_MANY_CALLS');
    for (let index = 0; index < 2; index += 1) calls.push(await unread(other));
    expect((await unread(other)).refusal).toBe('TOO_MANY_CALLS');

    calls[0]!.call.cancel();
    await until(async () => (await unread(other)).refusal === null);
    for (const { call } of calls) call.cancel();
    for (const client of [one, other]) client.close();
  });

  it('are read to their end as before, and then make room for others', async () => {
    const client = newClient();
    await until(async () => {
      const { call, refusal } = await unread(client);
      call.cancel();
      return refusal === null;
    });
    for (let round = 0; round < 8; round += 1) {
      let bytes = 0;
      for await (const { chunk } of client.downloadArtifact({ digest: '', offset: 0n }) as AsyncIterable<v1.DownloadArtifactResponse>)
        bytes += chunk.byteLength;
      expect(bytes).toBe(CHUNKS * CHUNK_BYTES);
    }
  });
});
