import { once } from 'node:events';
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelCredentials, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { serverStreaming, v1 } from '#protocol';
import { callLimits, OpenCalls } from './call-limits.js';

const CHUNK_BYTES = 128 << 10;
const CHUNKS = 100;
/** One chunk waits in the stream, and the next one is made already. */
const CHUNKS_HELD = 2;

describe('calls whose answers no client reads', () => {
  const server = new Server({ interceptors: [callLimits(new OpenCalls({ ofOneClient: 3, inAll: 5 }))] });
  const sessions: ClientHttp2Session[] = [];
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
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    address = `127.0.0.1:${port}`;
  });
  afterAll(() => {
    for (const session of sessions) session.destroy();
    server.forceShutdown();
  });

  /** This client speaks plain HTTP/2, since a client of grpc-js takes in all messages, read or not. */
  function newSession(): ClientHttp2Session {
    const session = connect(`http://${address}`);
    sessions.push(session);
    return session;
  }

  /** Makes a call and does not read it. Resolves once the server has begun to answer the call, or has refused it. */
  async function unread(session: ClientHttp2Session): Promise<{ call: ClientHttp2Stream; refusal: number | null }> {
    const path = `/${v1.ArtifactServiceService.downloadArtifact.path.replace(/^\//, '')}`;
    const call = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
    call.on('error', () => undefined); // it is cancelled below
    call.end(Buffer.alloc(5)); // the empty request: no compression, no bytes
    const [headers] = (await once(call, 'response')) as [IncomingHttpHeaders];
    const code = headers['grpc-status'];
    return { call, refusal: code === undefined ? null : Number(code) };
  }

  async function until(holds: () => Promise<boolean>): Promise<void> {
    for (const end = Date.now() + 120_000; !(await holds());) {
      if (Date.now() > end) throw new Error('it never came to that');
      await sleep(20);
    }
  }

  it('hold a chunk or two each, and no more may be open than a client may have, and all', async () => {
    const [one, other] = [newSession(), newSession()];
    const calls = [];
    for (const session of [one, one, one]) calls.push(await unread(session));
    expect(calls.map(({ refusal }) => refusal)).toEqual([null, null, null]);
    await sleep(500);
    expect(made).toBeLessThanOrEqual(CHUNKS_HELD * calls.length);
    expect((await unread(one)).refusal).toBe(status.RESOURCE_EXHAUSTED);
    for (let index = 0; index < 2; index += 1) calls.push(await unread(other));
    expect((await unread(other)).refusal).toBe(status.RESOURCE_EXHAUSTED);

    calls[0]!.call.close(constants.NGHTTP2_CANCEL);
    await until(async () => (await unread(other)).refusal === null);
    for (const session of [one, other]) session.destroy();
  });

  it('are read to their end as before, and then make room for others', async () => {
    const client = new v1.ArtifactServiceClient(address, ChannelCredentials.createInsecure());
    const session = newSession();
    await until(async () => {
      const { call, refusal } = await unread(session);
      call.close(constants.NGHTTP2_CANCEL);
      return refusal === null;
    });
    for (let round = 0; round < 8; round += 1) {
      let bytes = 0;
      for await (const { chunk } of client.downloadArtifact({ digest: '', offset: 0n }) as AsyncIterable<v1.DownloadArtifactResponse>)
        bytes += chunk.byteLength;
      expect(bytes).toBe(CHUNKS * CHUNK_BYTES);
    }
    client.close();
  });
});
