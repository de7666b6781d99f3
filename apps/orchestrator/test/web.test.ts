// Tests the API as browsers and plain programs reach it: over HTTP/1.1, with Connect and gRPC-Web.
import { execFile } from 'node:child_process';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { promisify } from 'node:util';
import type { DescService } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Interceptor, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web';
import { loginLink } from '#local-access';
import { fileRegistry, v1 } from '#protocol';
import { CORPUS, ENDLESS, TestServer, TINY_MODEL, TINY_RUN } from './harness/server.js';

/** A client with methods by name. Its messages are those of the descriptors. */
type AnyClient = Record<string, (request: object) => Promise<unknown> & AsyncIterable<unknown>>;
const clientOf = (service: string, transport: Transport): AnyClient =>
  createClient<DescService>(fileRegistry().getService(`espalier.v1.${service}`)!, transport);

describe('espalier.v1 over HTTP', () => {
  const server = TestServer.inNewFolder();
  let runId: string;
  server.web = '127.0.0.1:0';

  const showToken: Interceptor = (next) => (call) => {
    call.header.set('authorization', `Bearer ${server.token}`);
    return next(call);
  };
  const transports = (): Record<string, Transport> => ({
    connect: createConnectTransport({ baseUrl: server.webAddress, interceptors: [showToken], useBinaryFormat: true }),
    'connect as JSON': createConnectTransport({ baseUrl: server.webAddress, interceptors: [showToken] }),
    'gRPC-Web': createGrpcWebTransport({ baseUrl: server.webAddress, interceptors: [showToken] }),
  });
  const post = (method: string, headers: Record<string, string>, body: string | Uint8Array<ArrayBuffer> = '{}'): Promise<Response> =>
    fetch(`${server.webAddress}/espalier.v1.${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    });
  const bearer = (): { authorization: string } => ({ authorization: `Bearer ${server.token}` });

  beforeAll(async () => {
    await server.start();
    ({ runId } = await server.launch({ totalSteps: 20 }, { name: 'by <b>hand</b>' }));
    await server.completed(runId);
  });
  afterAll(() => server.dispose());

  test.each(['connect', 'connect as JSON', 'gRPC-Web'])('%s: answers, streams and errors are those of gRPC', async (protocol) => {
    const transport = transports()[protocol]!;
    const runs = clientOf('RunService', transport);
    const listed = (await runs['listRuns']!({})) as { runs: { runId: string; name: string; step: bigint }[] };
    expect(listed.runs).toMatchObject([{ runId, name: 'by <b>hand</b>', step: 20n }]);

    const watched: { run: { status: number }; steps: unknown[] }[] = [];
    for await (const message of runs['watchRun']!({ runId, afterRevision: 0n })) watched.push(message as (typeof watched)[number]);
    expect(watched.at(-1)!.run.status).toBe(v1.RunStatus.RUN_STATUS_COMPLETED);
    expect(watched.flatMap(({ steps }) => steps)).toHaveLength(20);

    const settings = { targetSparsity: 2, totalSteps: 0 };
    const error = ConnectError.from(
      await runs['launchRun']!({ modelPath: TINY_MODEL, data: { trainPath: CORPUS }, settings }).then(
        () => new Error('it was taken'),
        (reason: unknown) => reason,
      ),
    );
    expect(error.code).toBe(Code.InvalidArgument);
    expect(error.findDetails(fileRegistry())).toMatchObject([
      { reason: 'REQUEST_INVALID' },
      { fieldViolations: [{ field: 'settings.target_sparsity' }, { field: 'settings.total_steps' }] },
    ]);
    const unknown = ConnectError.from(await runs['getRun']!({ runId: 'x'.repeat(201) }).catch((reason: unknown) => reason));
    expect(unknown.findDetails(fileRegistry())).toMatchObject([{ reason: 'FIELD_OUT_OF_RANGE' }, {}]);
  });

  test('curl needs no more than a content type and the token, and hears which field it misspelt', async () => {
    const curl = async (body: string): Promise<Record<string, unknown>> => {
      const url = `${server.webAddress}/espalier.v1.RunService/ListRuns`;
      const headers = ['-H', 'Content-Type: application/json', '-H', `Authorization: Bearer ${server.token}`];
      const { stdout } = await promisify(execFile)('curl', ['-sS', ...headers, '-d', body, url]);
      return JSON.parse(stdout) as Record<string, unknown>;
    };
    expect(await curl('{"pageSize": 5}')).toMatchObject({ total: 1, runs: [{ runId, status: 'RUN_STATUS_COMPLETED' }] });
    expect(await curl('{"pagesize": 5}')).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(/^pagesize: .*pageSize/),
    });
  });

  test('a request id that a client gives is in the answer and in the record', async () => {
    const answer = await post(
      'RunService/DescribeRun',
      { ...bearer(), 'x-request-id': 'from-a-page' },
      JSON.stringify({ runId, note: 'seen' }),
    );
    expect([answer.status, answer.headers.get('x-request-id')]).toEqual([200, 'from-a-page']);
    const last = (await server.events(runId)).at(-1)!;
    expect(last).toMatchObject({ type: 'RunDescribed', context: { requestId: 'from-a-page', roles: ['owner'] } });
  });

  test('long answers and pages are compressed where the client takes that, and are the same', async () => {
    const ask = async (acceptEncoding: string): Promise<[string | null, string]> => {
      const answer = await post(
        'HistoryService/QueryCurves',
        { ...bearer(), 'accept-encoding': acceptEncoding },
        JSON.stringify({ runId, maxPoints: 20 }),
      );
      return [answer.headers.get('content-encoding'), await answer.text()];
    };
    const [plain, text] = await ask('identity');
    expect([plain, text.length > 4_096]).toEqual([null, true]);
    for (const encoding of ['br', 'gzip']) expect(await ask(encoding)).toEqual([encoding, text]);
    const short = await post('RunService/PauseRun', { ...bearer(), 'accept-encoding': 'gzip' }, '{}');
    expect(short.headers.get('content-encoding')).toBeNull();
    const page = await fetch(server.webAddress, { headers: { 'accept-encoding': 'br' } });
    expect([page.headers.get('content-encoding'), await page.text()]).toEqual(['br', expect.stringContaining('<title>Espalier</title>')]);
  });

  test('who shows no token is refused, and so are other content types, hosts and origins', async () => {
    const codeOf = async (answer: Response): Promise<unknown> => [answer.status, ((await answer.json()) as { code: string }).code];
    expect(await codeOf(await post('RunService/ListRuns', {}))).toEqual([401, 'unauthenticated']);
    expect(await codeOf(await post('RunService/ListRuns', { authorization: 'Bearer no' }))).toEqual([401, 'unauthenticated']);
    expect(await codeOf(await post('RunService/ListRuns', { ...bearer(), origin: 'http://127.0.0.1:1' }))).toEqual([
      403,
      'permission_denied',
    ]);
    expect((await post('RunService/ListRuns', { ...bearer(), origin: server.webAddress })).status).toBe(200);
    expect((await post('RunService/ListRuns', { ...bearer(), 'content-type': 'text/plain' })).status).toBe(415);
    expect((await post('RunService/ListRuns', { ...bearer(), 'content-type': 'application/grpc' })).status).toBe(415);
    const preflight = await fetch(`${server.webAddress}/espalier.v1.RunService/ListRuns`, {
      method: 'OPTIONS',
      headers: { origin: 'http://evil.example', 'access-control-request-method': 'POST' },
    });
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
    // A foreign name that was made to lead here sends itself as the Host. The test sets it without fetch, which does not let a program set
    // it.
    const { port } = new URL(server.webAddress);
    const rebound = await new Promise<number>((resolve, reject) => {
      request({ port, host: '127.0.0.1', path: '/', headers: { host: `evil.example:${port}` } }, (answer) => resolve(answer.statusCode!))
        .on('error', reject)
        .end();
    });
    expect(rebound).toBe(403);
  });

  test('a login link works once; its cookie opens the API, also after the server has been started again', async () => {
    const link = loginLink(server.webAddress, server.token, `/runs/${runId}`);
    const first = await fetch(link, { redirect: 'manual' });
    expect([first.status, first.headers.get('location')]).toEqual([303, `/runs/${runId}`]);
    const cookie = first.headers.get('set-cookie')!;
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict/);
    expect((await fetch(link, { redirect: 'manual' })).status).toBe(403);
    const away = await fetch(loginLink(server.webAddress, server.token, '//evil.example'), { redirect: 'manual' });
    expect(away.headers.get('location')).toBe('/');

    const shown = { cookie: cookie.split(';')[0]! };
    expect((await post('RunService/ListRuns', shown)).status).toBe(200);
    expect((await post('RunService/ListRuns', { cookie: `${shown.cookie}x` })).status).toBe(401);
    await server.stop();
    await server.start();
    expect((await post('RunService/ListRuns', shown)).status).toBe(200);
  });

  test('calls of one client are limited, also those whose answers it does not read', async () => {
    const stops = new AbortController();
    const body = new Uint8Array(5); // an envelope around the empty message
    const watch = (): Promise<Response> =>
      fetch(`${server.webAddress}/espalier.v1.HistoryService/WatchHistory`, {
        method: 'POST',
        headers: { ...bearer(), 'content-type': 'application/connect+proto' },
        body,
        signal: stops.signal,
      });
    const answers = await Promise.all(Array.from({ length: 70 }, watch));
    const beginnings = await Promise.all(
      answers.map(async ({ body: stream }) => new TextDecoder('latin1').decode((await stream!.getReader().read()).value)),
    );
    stops.abort();
    expect(beginnings.filter((text) => text.includes('TOO_MANY_CALLS'))).toHaveLength(6);
    for (const end = Date.now() + 60_000; (await post('RunService/ListRuns', bearer())).status !== 200;)
      if (Date.now() > end) throw new Error('the calls were never given back');
  });

  test("whatever can't be read is refused with a code of ours, and the field where there is one", async () => {
    const refused = async (headers: Record<string, string>, body: string | Uint8Array<ArrayBuffer>): Promise<unknown[]> => {
      const answer = await post('RunService/ListRuns', { ...bearer(), ...headers }, body);
      const { details = [] } = (await answer.json()) as { details?: { debug?: Record<string, unknown> }[] };
      const violations = details.flatMap(({ debug }) => (debug?.['fieldViolations'] ?? []) as { field: string }[]);
      return [answer.status, details[0]?.debug?.['reason'], ...violations.map(({ field }) => field)];
    };
    expect(await refused({}, '{"pagesize": 5}')).toEqual([400, 'FIELD_UNKNOWN', 'pagesize']);
    expect(await refused({}, '{"pageSize": "many"}')).toEqual([400, 'FIELD_UNKNOWN_VALUE', 'page_size']);
    expect(await refused({}, '{"pageSize": ')).toEqual([400, 'REQUEST_INVALID']);
    expect(await refused({}, '[]')).toEqual([400, 'REQUEST_INVALID']);
    expect(await refused({ 'content-type': 'application/proto' }, new Uint8Array([255, 255, 255]))).toEqual([400, 'REQUEST_INVALID']);
    expect(await refused({}, JSON.stringify({ nameContains: 'x'.repeat(2 << 20) }))).toEqual([429, 'REQUEST_TOO_LARGE']);
    expect(await refused({ 'content-encoding': 'gzip' }, '{}')).toEqual([501, 'NOT_SUPPORTED']);
    expect(await refused({ 'connect-timeout-ms': 'soon' }, '{}')).toEqual([400, 'FIELD_OUT_OF_RANGE', 'connect-timeout-ms']);
    const path = 'HistoryService/WatchHistory';
    const stream = await post(path, { ...bearer(), 'content-type': 'application/connect+json' }, '{}');
    expect([stream.status, await stream.text()]).toEqual([200, expect.stringContaining('"reason":"REQUEST_INVALID"')]);
    const web = await post(path, { ...bearer(), 'content-type': 'application/grpc-web+proto' }, 'x');
    expect([web.status, web.headers.get('grpc-status'), web.headers.get('grpc-message')]).toEqual([
      200,
      '3',
      expect.stringContaining('one%20message%20is%20needed'),
    ]);
    expect((await post('RunService/Nothing', bearer())).status).toBe(404);
  });

  test('no request ends the server, whatever its Host and its target are', async () => {
    const { port } = new URL(server.webAddress);
    const sent = (host: string, path: string): Promise<number> =>
      new Promise((resolve, reject) => {
        const headers = { ...bearer(), 'content-type': 'application/json', host };
        request({ port, host: '127.0.0.1', method: 'POST', path, headers }, (answer) => resolve(answer.statusCode!))
          .on('error', reject)
          .end('{}');
      });
    expect(await sent('127.0.0.1:99999', '/espalier.v1.RunService/ListRuns')).toBe(403);
    expect(await sent(`127.0.0.1:${port}`, '/espalier.v1.RunService/ListRuns?%zz&=%00#')).toBe(200);
    const two = connect(Number(port), '127.0.0.1');
    two.write(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nHost: evil.example\r\nConnection: close\r\n\r\n`);
    expect(await textOf(two)).toMatch(/^HTTP\/1\.1 403 .*the request has 2 Host headers; one is allowed/s);
    expect((await post('RunService/ListRuns', bearer())).status).toBe(200);
  });

  test('requests are checked as those over gRPC are: every field', async () => {
    const settings = { ...TINY_RUN, temperature: 'NaN' };
    const notFinite = await post('RunService/PlanRun', bearer(), JSON.stringify({ modelPath: TINY_MODEL, settings }));
    expect(await notFinite.json()).toMatchObject({ code: 'invalid_argument', message: expect.stringContaining('settings.temperature') });
  });

  test('connections of clients that ask for nothing go, however many; a stream that is silent for as long lives', async () => {
    const runs = clientOf('RunService', transports()['connect']!);
    const waiting = await server.launch(ENDLESS);
    await server.until(waiting.runId, ({ step }) => step > 0n);
    await runs['pauseRun']!({ runId: waiting.runId });
    await server.until(waiting.runId, ({ status }) => status === v1.RunStatus.RUN_STATUS_PAUSED);
    const watching = runs['watchRun']!({ runId: waiting.runId })[Symbol.asyncIterator]();
    // the stream is open before the other clients come
    let message = (await watching.next()) as IteratorResult<{ run?: { status: number } }>;

    const { hostname, port } = new URL(server.webAddress);
    const clients: Socket[] = Array.from({ length: 520 }, (_, index) => {
      const socket = connect(Number(port), hostname, () => socket.write(['', 'GET / HT', 'GET / HTTP/1.1\r\nhost: a'][index % 3]!));
      return socket.on('error', () => undefined).resume();
    });
    await Promise.all(clients.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    expect((await post('RunService/ListRuns', bearer())).status).toBe(200);

    await runs['cancelRun']!({ runId: waiting.runId, reason: '' });
    while (message.done !== true && message.value.run?.status !== v1.RunStatus.RUN_STATUS_CANCELLED)
      message = (await watching.next()) as typeof message;
    expect(message.done).not.toBe(true);
  });
});
