// Tests what health checks see of a server with TLS: of one that works, of one that can record nothing, and of one that was stopped by
// SIGSTOP, whose ports still take connections.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { programFile } from '#files';
import { newAuthority, signedBy } from '#local-access';
import { TestServer } from './harness/server.js';

const CLI = programFile(new URL('../../cli/src/main.js', import.meta.url));
/** The time that a health check gives the server. */
const PROBE_MS = 2_000;
const folder = mkdtempSync(join(tmpdir(), 'espalier-health-'));
const file = (name: string): string => join(folder, name);
/** The program by which services tell systemd about themselves: this one writes down what it is told. */
writeFileSync(file('systemd-notify'), `#!/bin/sh\necho "$1" >> ${file('told')}\n`);
chmodSync(file('systemd-notify'), 0o755);
const server = TestServer.inNewFolder({
  NOTIFY_SOCKET: file('socket'),
  WATCHDOG_USEC: '300000',
  PATH: [folder, process.env['PATH']].join(delimiter),
});

beforeAll(async () => {
  const authority = await newAuthority('an authority', 60);
  const made = await signedBy(authority, { subject: 'a server', names: ['lab.example.org'], use: 'server', days: 30 });
  writeFileSync(file('server.pem'), `${made.certificate}\n${authority.certificate}`);
  writeFileSync(file('server.key'), made.key, { mode: 0o600 });
  server.web = '127.0.0.1:0';
  server.options = ['--tls-cert', file('server.pem'), '--tls-key', file('server.key')];
  await server.start();
});
afterAll(async () => {
  server.signal('orchestrator', 'SIGCONT');
  await server.dispose();
  rmSync(folder, { recursive: true });
});

const port = (): number => Number(new URL(server.webAddress).port);

/** Asks as a kubelet does: by the address in numbers, without a token, and without a check of the certificate. */
async function probe(path: string): Promise<number | string> {
  const signal = AbortSignal.timeout(PROBE_MS);
  const asked = request({ host: '127.0.0.1', port: port(), path, rejectUnauthorized: false, signal });
  asked.end();
  try {
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.resume();
    return answer.statusCode!;
  } catch (error) {
    return signal.aborted ? 'no answer in time' : (error as Error).message;
  }
}

const command = (): Promise<{ exitCode: unknown; said: string }> =>
  new Promise((resolve) => {
    execFile(process.execPath, [CLI, '--data-folder', server.dataFolder, 'status', '--probe', '--json'], (error, stdout, stderr) =>
      resolve({ exitCode: error === null ? 0 : error.code, said: stdout || stderr }),
    );
  });

async function takesConnections(): Promise<boolean> {
  const socket = connect(port(), '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
  return true;
}

it('a server that works answers its health checks, without a token', async () => {
  expect([await probe('/health/live'), await probe('/health/ready'), await probe('/health')]).toEqual([200, 200, 404]);
  const { exitCode, said } = await command();
  expect([exitCode, JSON.parse(said)]).toEqual([0, { answers: true, serving: true }]);
});

it('a server that was stopped by a signal takes connections, and fails each health check until it goes on', async () => {
  server.signal('orchestrator', 'SIGSTOP');
  try {
    expect(await takesConnections()).toBe(true);
    expect(await probe('/health/live')).toBe('no answer in time');
    const { exitCode, said } = await command();
    expect([exitCode, said]).toEqual([4, expect.stringContaining('DEADLINE_EXCEEDED')]);
  } finally {
    server.signal('orchestrator', 'SIGCONT'); // the next tests need it
  }
  expect(await probe('/health/live')).toBe(200);
  expect((await command()).exitCode).toBe(0);
});

it('a server whose data folder is gone is alive, and not ready until the folder is back', async () => {
  const elsewhere = `${server.dataFolder}-elsewhere`;
  renameSync(server.dataFolder, elsewhere);
  try {
    while ((await probe('/health/ready')) !== 503) await sleep(100);
    expect(await probe('/health/live')).toBe(200);
  } finally {
    renameSync(elsewhere, server.dataFolder);
  }
  while ((await probe('/health/ready')) !== 200) await sleep(100);
});

it('systemd hears that the server is ready, and then again and again that it works', async () => {
  const told = (): string[] => readFileSync(file('told'), 'utf8').trim().split('\n');
  while (told().length < 4) await sleep(50);
  expect(told().slice(0, 4)).toEqual(['READY=1', 'WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1']);
});
