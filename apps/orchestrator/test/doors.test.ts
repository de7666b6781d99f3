// Tests the server's two ports against unwelcome connections: other users of the machine, clients that close at once, and clients that only
// take room.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { renewSecretFile } from '#files';
import { loginLink } from '#local-access';
import { v1 } from '#protocol';
import { TestServer, unary } from './harness/server.js';

const ANOTHER_USER = 65_534;
const canBeAnother = process.getuid?.() === 0;
const server = TestServer.inNewFolder();
server.web = '127.0.0.1:0';
beforeAll(() => server.start());
afterAll(() => server.dispose());

const call = (headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${server.webAddress}/espalier.v1.RunService/ListRuns`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: '{}',
  });
const bearer = (): { authorization: string } => ({ authorization: `Bearer ${server.token}` });
const overGrpc = async (): Promise<v1.Run[]> =>
  (await unary<v1.ListRunsResponse>((done) => server.runs.listRuns(v1.ListRunsRequest.fromPartial({}), done))).runs;
const ports = (): number[] => [server.webAddress, `http://${server.listenAddress}`].map((address) => Number(new URL(address).port));

async function cookieOf(link: string): Promise<string> {
  const answer = await fetch(link, { redirect: 'manual' });
  return answer.headers.get('set-cookie')!.split(';')[0]!;
}

/** A client that sends all it has at once, closes its half, and prints what comes back. */
const ASK_AND_CLOSE = `
const { connect } = require('net');
const text = require('fs').readFileSync(0);
const socket = connect({ port: Number(process.argv[1]), host: '127.0.0.1', allowHalfOpen: true }, () => socket.end(text));
socket.on('data', (chunk) => process.stdout.write(chunk)).on('error', () => {}).on('end', () => socket.destroy());`;

function askAndClose(port: number, text: string, uid: number): Promise<string> {
  const child = spawn(process.execPath, ['-e', ASK_AND_CLOSE, String(port)], {
    uid,
    gid: uid,
    cwd: '/',
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  let heard = '';
  child.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')));
  child.stdin.on('error', () => undefined).end(text);
  return once(child, 'close').then(() => heard);
}

const requests = (...lines: string[][]): string =>
  lines
    .map(([first, ...headers]) => [first, 'host: 127.0.0.1', ...headers, '', first!.startsWith('POST') ? '{}' : ''].join('\r\n'))
    .join('');

(canBeAnother ? describe : describe.skip)('another user of the machine', () => {
  test('gets nothing for a stolen login key or token, though it closes its half at once', async () => {
    const key = new URL(loginLink(server.webAddress, server.token)).search;
    const shown = `authorization: Bearer ${server.token}`;
    const pipelined = requests(
      [`GET /login${key} HTTP/1.1`],
      ['POST /espalier.v1.RunService/ListRuns HTTP/1.1', 'content-type: application/json', 'content-length: 2', shown],
    );
    for (let round = 0; round < 20; round += 1) expect(await askAndClose(ports()[0]!, pipelined, ANOTHER_USER)).toBe('');
    expect(await askAndClose(ports()[1]!, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', ANOTHER_USER)).toBe('');
    // The key was not used up, either.
    expect(await cookieOf(`${server.webAddress}/login${key}`)).toMatch(/^espalier-/);
  });

  test('neither fills the ports nor the log', async () => {
    const before = statSync(join(server.dataFolder, 'server.log')).size;
    const flood = `
      const { connect } = require('net');
      const open = (port) => {
        const socket = connect(port, '127.0.0.1', () => socket.write('GET / HT'));
        socket.on('error', () => {}).on('close', () => open(port));
      };
      for (let i = 0; i < 1_000; i += 1) process.argv.slice(1).forEach(open);
      setTimeout(() => console.log('open'), 2_000);`;
    const child = spawn(process.execPath, ['-e', flood, ...ports().map(String)], { uid: ANOTHER_USER, gid: ANOTHER_USER, cwd: '/' });
    await once(child.stdout, 'data');
    expect((await call(bearer())).status).toBe(200);
    expect(await overGrpc()).toEqual([]);
    child.kill();
    await once(child, 'exit');
    expect(statSync(join(server.dataFolder, 'server.log')).size - before).toBeLessThan(100_000);
    while (!/"why":"another-user","uid":65534,"times":\d/.test(server.log)) await sleep(50);
  });
});

test('the own user is let in while hundreds of its connections have sent half a request', async () => {
  const [port] = ports();
  const sockets: Socket[] = Array.from({ length: 600 }, () => {
    const socket = connect(port!, '127.0.0.1', () => socket.write('GET / HT'));
    return socket.on('error', () => undefined);
  });
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))));
  expect((await call(bearer())).status).toBe(200);
  for (const socket of sockets) socket.destroy();
});

test('refusals that come by the thousand are one log line a second, without what the caller sent', async () => {
  const before = server.log.length;
  const host = 'x'.repeat(5_000);
  const [port] = ports();
  const text = requests(...Array.from({ length: 1_000 }, () => ['POST /espalier.v1.RunService/ListRuns HTTP/1.1', 'content-length: 2']));
  const sent = text.replaceAll('host: 127.0.0.1', `host: ${host}`);
  const answers = await askAndClose(port!, sent, process.getuid!());
  expect(answers.split('403 Forbidden').length - 1).toBeGreaterThan(0);
  while (!/"code":"HOST_FOREIGN","times":\d/.test(server.log)) await sleep(50);
  const logged = server.log.slice(before);
  expect(logged).not.toContain('x'.repeat(100));
  expect(answers).not.toContain('x'.repeat(100));
  expect(logged.length).toBeLessThan(100_000);
});

test('one valid cookie among several of the name is enough; a renewed key forgets them all at once', async () => {
  const cookie = await cookieOf(loginLink(server.webAddress, server.token));
  const [name] = cookie.split('=');
  expect((await call({ cookie: `${name}=1.forged; other=1; ${cookie}; ${name}=` })).status).toBe(200);
  expect((await call({ cookie: `${name}=1.forged; ${name}=2.forged` })).status).toBe(401);
  renewSecretFile(join(server.dataFolder, 'cookie.key'));
  expect((await call({ cookie })).status).toBe(401);
  expect((await call({ cookie: await cookieOf(loginLink(server.webAddress, server.token)) })).status).toBe(200);
});
