// Tests the real server with TLS on both ports: the command line, another gRPC client and a browser's requests, clients without TLS, a new
// certificate while a stream is open, and that no key lies where it does not belong.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as plainRequest, type IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { ChannelCredentials } from '@grpc/grpc-js';
import { programFile } from '#files';
import { loginLink, newAuthority, signedBy, type Signed } from '#local-access';
import { bearerToken, v1 } from '#protocol';
import { CORPUS, ENDLESS, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

const CLI = programFile(new URL('../../cli/src/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-tls-'));
const file = (name: string): string => join(folder, name);
const server = TestServer.inNewFolder();
let authority: Signed;
let runs: v1.RunServiceClient;

async function place(): Promise<void> {
  const made = await signedBy(authority, { subject: 'a server', names: ['localhost', '127.0.0.1'], use: 'server', days: 30 });
  writeFileSync(file('server.pem'), `${made.certificate}\n${authority.certificate}`);
  writeFileSync(file('server.key'), made.key, { mode: 0o600 });
}

beforeAll(async () => {
  authority = await newAuthority('an authority', 60);
  writeFileSync(file('authority.pem'), authority.certificate);
  await place();
  server.web = '127.0.0.1:0';
  server.options = ['--tls-cert', file('server.pem'), '--tls-key', file('server.key')];
  await server.start();
  const secret = ChannelCredentials.createSsl(Buffer.from(authority.certificate));
  runs = new v1.RunServiceClient(server.listenAddress.replace('127.0.0.1', 'localhost'), secret, bearerToken(server.token));
});
afterAll(async () => {
  runs.close();
  await server.dispose();
  rmSync(folder, { recursive: true });
});

const listRuns = (client = runs): Promise<v1.ListRunsResponse> =>
  unary((done) => client.listRuns(v1.ListRunsRequest.fromPartial({}), { deadline: Date.now() + 60_000 } as never, done as never));

async function espalier(...args: string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, [CLI, ...args])).stdout;
}

async function page(path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const asked = request(`${server.webAddress}${path}`, { ca: authority.certificate, servername: 'localhost', headers });
  asked.end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  answer.resume();
  return answer;
}

async function serialNow(): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(server.webAddress).port), ca: authority.certificate });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

it('answers the command line, by the data folder and by name with a token in a file', async () => {
  expect(JSON.parse(await espalier('runs', '--data-folder', server.dataFolder, '--json'))).toMatchObject({ runs: [] });
  const made = await espalier('token', 'create', '--name', 'eye', '--role', 'viewer', '--data-folder', server.dataFolder);
  writeFileSync(file('token'), made, { mode: 0o600 });
  const named = ['--server', `https://${server.listenAddress}`, '--tls-ca', file('authority.pem'), '--token-file', file('token')];
  expect(JSON.parse(await espalier('runs', ...named, '--data-folder', file('none'), '--json'))).toMatchObject({ runs: [] });
});

it('answers another gRPC client, and a browser, whose cookie goes to this host over TLS only', async () => {
  expect((await listRuns()).runs).toEqual([]);
  expect(server.webAddress).toMatch(/^https:\/\/127\.0\.0\.1:/);
  expect((await page('/')).statusCode).toBe(200);
  const link = new URL(loginLink(server.webAddress, server.token));
  const cookie = (await page(`${link.pathname}${link.search}`)).headers['set-cookie']![0]!;
  expect(cookie).toMatch(/^__Host-espalier-[^;]+; Path=\/; Secure; HttpOnly; SameSite=Strict/);
  expect((await page('/login', { cookie: cookie.split(';')[0]! })).statusCode).toBe(303);
  expect((await page('/', { host: 'example.org' })).statusCode).toBe(403);
});

it('refuses clients without TLS and goes on, and no foreign authority is trusted', async () => {
  const plain = new v1.RunServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), bearerToken(server.token));
  await expect(listRuns(plain)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  plain.close();
  for (const port of [server.webAddress, `https://${server.listenAddress}`].map((address) => new URL(address).port)) {
    const asked = plainRequest({ host: '127.0.0.1', port, path: '/' });
    asked.end();
    expect(await once(asked, 'error')).toMatchObject([{ code: expect.stringMatching(/ECONNRESET|HPE_/) as string }]);
  }
  const other = await newAuthority('an authority', 60);
  const deceived = new v1.RunServiceClient(
    server.listenAddress,
    ChannelCredentials.createSsl(Buffer.from(other.certificate)),
    bearerToken(server.token),
  );
  await expect(listRuns(deceived)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  deceived.close();
  expect(server.log).toContain('"why":"no-tls"');
  expect((await listRuns()).runs).toEqual([]);
});

it('takes a new certificate while a stream is open, which goes on', async () => {
  const launch = v1.LaunchRunRequest.fromPartial({
    modelPath: TINY_MODEL,
    data: { trainPath: CORPUS, validationPath: CORPUS },
    settings: { ...TINY_RUN, ...ENDLESS },
  });
  const { run } = await unary<v1.LaunchRunResponse>((done) => runs.launchRun(launch, done));
  const { runId } = run!;
  await unary((done) => runs.pauseRun({ runId }, done)); // the first messages about the run need not be its steps
  const stream = runs.watchRun(v1.WatchRunRequest.fromPartial({ runId }));
  let heard = 0;
  const ended = new Promise<string>((resolve) => {
    stream.on('data', () => (heard += 1));
    stream.on('error', ({ message }: Error) => resolve(message)).on('end', () => resolve('end'));
  });
  const until = async (holds: () => Promise<boolean> | boolean): Promise<void> => {
    while (!(await holds())) await sleep(50);
  };
  await until(() => heard > 0);
  const before = await serialNow();
  await place();
  await until(async () => (await serialNow()) !== before);
  const sofar = heard;
  await unary((done) => runs.describeRun(v1.DescribeRunRequest.fromPartial({ runId, note: 'seen' }), done));
  await until(() => heard > sofar);
  await unary((done) => runs.cancelRun({ runId, reason: '' }, done));
  expect(await ended).toBe('end');
  expect((await listRuns()).runs.map((one) => one.runId)).toEqual([runId]);
  expect(await espalier('runs', '--data-folder', server.dataFolder)).toContain(runId);
});

it('shows its key neither in its log nor in its command line', () => {
  const secrets = [readFileSync(file('server.key'), 'utf8'), readFileSync(file('token'), 'utf8'), server.token!];
  const lines = secrets.flatMap((text) => text.split('\n').filter((line) => line !== '' && !line.startsWith('-----')));
  const command = readFileSync(`/proc/${server.pid}/cmdline`, 'utf8');
  for (const line of lines) for (const shown of [server.log, command, JSON.stringify(process.argv)]) expect(shown).not.toContain(line);
});

it('says at the start which file it can not use', async () => {
  const main = programFile(new URL('../src/main.js', import.meta.url));
  const tls = ['--tls-cert', file('server.pem'), '--tls-key', file('authority.pem')];
  const started = promisify(execFile)(process.execPath, [main, '--data-folder', file('not-started'), '--listen', '127.0.0.1:0', ...tls]);
  await expect(started).rejects.toMatchObject({ stderr: expect.stringMatching(/authority\.pem holds no private key.*TLS_FILES_UNUSABLE/) });
});
