import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { bytesFrom, putPart } from './bucket-requests.js';

const SECRET = 'X-Amz-Signature=0123456789abcdef';
const content = Buffer.from(Array.from({ length: 1_000 }, (_, index) => index % 251));

let server: Server;
let asked: { method: string; range: string | undefined; body: Buffer }[];
let answer: (request: IncomingMessage, response: ServerResponse, turn: number) => void;
let address: string;

beforeAll(async () => {
  server = createServer((request, response) => {
    const body: Buffer[] = [];
    request.on('data', (chunk: Buffer) => body.push(chunk));
    request.on('end', () => {
      asked.push({ method: request.method!, range: request.headers.range, body: Buffer.concat(body) });
      answer(request, response, asked.length);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/bucket/key?${SECRET}`;
});
afterAll(() => void server.close());
beforeEach(() => {
  asked = [];
});

const refuses = (status: number, code: string) => (_request: IncomingMessage, response: ServerResponse) =>
  void response.writeHead(status).end(`<Error><Code>${code}</Code><Message>${SECRET}</Message></Error>`);
const whole = async (url: string): Promise<Buffer> => {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytesFrom(url)) chunks.push(chunk);
  return Buffer.concat(chunks);
};
const part = { offset: 0n, bytes: BigInt(content.length), url: '', headers: { 'x-amz-checksum-sha256': 'sum' } };
/** The code of the error that a call ends with. The error never tells the address. */
const failureOf = async (call: Promise<unknown>): Promise<object> => {
  const error: Error & { code?: string } = await call.then(
    () => new Error('it did not fail'),
    (failure: unknown) => failure as Error,
  );
  expect(`${error.message} ${error.stack}`).not.toContain('X-Amz');
  return { code: error.code };
};

test('bytes come whole, from where a connection broke', async () => {
  answer = (request, response, turn) => {
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    response.writeHead(from === 0 ? 200 : 206, { 'content-length': String(content.length - from) });
    if (turn === 3) return void response.end(content.subarray(from));
    response.write(content.subarray(from, from + 300), () => response.destroy());
  };
  expect(Buffer.compare(await whole(address), content)).toBe(0);
  expect(asked.map(({ range }) => range)).toEqual([undefined, 'bytes=300-', 'bytes=600-']);
});

test('a server that gives no ranges is read from the beginning again', async () => {
  answer = (_request, response, turn) => {
    response.writeHead(200, { 'content-length': String(content.length) });
    if (turn === 2) return void response.end(content);
    response.write(content.subarray(0, 300), () => response.destroy());
  };
  expect(Buffer.compare(await whole(address), content)).toBe(0);
});

test('an answer that does not tell its size is refused before it is read', async () => {
  answer = (_request, response) => void response.writeHead(200).end(content);
  expect(await failureOf(whole(address))).toEqual({ code: 'BUCKET_ADDRESS_REFUSED' });
});

test('a part arrives with its headers, and is sent again after an error of the server', async () => {
  answer = (request, response, turn) => {
    expect(request.headers['x-amz-checksum-sha256']).toBe('sum');
    if (turn === 1) return void response.writeHead(503).end();
    response.writeHead(200, { etag: '"the etag"' }).end();
  };
  expect(await putPart({ ...part, url: address }, content)).toBe('"the etag"');
  expect(asked.map(({ method, body }) => [method, Buffer.compare(body, content)])).toEqual([
    ['PUT', 0],
    ['PUT', 0],
  ]);
});

test.each([
  [403, 'AccessDenied'],
  [400, 'ExpiredToken'],
  [404, 'NoSuchUpload'],
  [307, 'TemporaryRedirect'],
])('an answer %i %s is told at once, since it would come again', async (status, code) => {
  answer = refuses(status, code);
  expect(await failureOf(putPart({ ...part, url: address }, content))).toEqual({ code: 'BUCKET_ADDRESS_REFUSED' });
  expect(asked).toHaveLength(1);
});

test('bytes that were damaged on the way are sent again', async () => {
  answer = (request, response, turn) =>
    turn === 1 ? refuses(400, 'BadDigest')(request, response) : void response.writeHead(200, { etag: 'e' }).end();
  expect(await putPart({ ...part, url: address }, content)).toBe('e');
});

test('a bucket that does not answer is told as unreachable', async () => {
  const gone = createServer().listen(0, '127.0.0.1');
  await once(gone, 'listening');
  const url = `http://127.0.0.1:${(gone.address() as AddressInfo).port}/?${SECRET}`;
  gone.close();
  expect(await failureOf(whole(url))).toEqual({ code: 'BUCKET_UNREACHABLE' });
});

test.each(['', 'file:///etc/passwd', 'not an address'])('%j is not an address of a bucket', async (url) => {
  expect(await failureOf(whole(url))).toEqual({ code: 'FIELD_OUT_OF_RANGE' });
});
