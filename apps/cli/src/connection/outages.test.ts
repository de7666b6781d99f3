// Tests what commands say while the server, its event store or the way to the server is down.
import { createServer as createHttp2Server } from 'node:http2';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { runCli } from '../testing/run-cli.js';
import { refusal, TestServer } from '../testing/test-server.js';
import { Connection } from './connection.js';

/** Words of the transport, which tell a user nothing. */
const RAW = /\d+ [A-Z]+_?[A-Z]+:|RST_STREAM|HTTP status|ECONN|EPIPE|Deadline exceeded|No connection established|LB pick/;
const COMMANDS = [['show', 'abcd'], ['runs'], ['watch', 'abcd'], ['history', 'abcd'], ['pause', 'abcd']];

let ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends) end();
  ends = [];
});

async function listening(server: Pick<Server, 'listen' | 'address' | 'close'>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test.each<[string, () => Promise<string>, RegExp]>([
  ['nothing listens', () => Promise.resolve('127.0.0.1:1'), /no server answers at \S+ [^]*espalier up --detach/],
  [
    'connections are reset',
    () => listening(createServer((socket) => socket.resetAndDestroy())),
    /no server answers at \S+ [^]*espalier up --detach/,
  ],
  [
    'another program answers',
    () => listening(createHttp2Server((_, response) => response.writeHead(404).end())),
    /the program that answers at \S+ \(from --server\) is no[^]*--server HOST:PORT/,
  ],
])('where %s, commands say so, and what to do', async (_, start, words) => {
  const address = await start();
  for (const command of COMMANDS) {
    const { exitCode, stderr } = await runCli([...command, '--server', address]);
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(words);
    expect(stderr).not.toMatch(RAW);
  }
  const { stdout } = await runCli(['status', '--server', address]);
  expect(stdout).toMatch(/does not answer at/);
  expect(stdout).not.toMatch(RAW);
});

test('a server that takes a call and says nothing is told with the time that it had', async () => {
  const address = await listening(createServer((socket) => ends.push(() => socket.destroy())));
  const connection = new Connection({ address, source: '--server', origin: 'named', tls: null, token: null, tokenOrigin: null });
  ends.push(() => connection.close());
  const call = connection.call(connection.engines, connection.engines.listEngines, {}, 100);
  await expect(call).rejects.toMatchObject({
    message: expect.stringMatching(/^the server at \S+ \(from --server\) did not answer within 0\.1 s$/) as string,
    hint: expect.stringContaining('espalier logs') as string,
    exitCode: 4,
  });
});

test('an event store that is down is told with what happens next', async () => {
  const down = (): never => {
    throw refusal('EVENT_STORE_UNAVAILABLE', 'the event store is not available: no program listens at its address');
  };
  const server = await TestServer.start({ getRun: down, pauseRun: down });
  ends.push(() => server.stop());
  for (const command of [
    ['show', 'abcd'],
    ['pause', 'abcd'],
  ]) {
    const { exitCode, stderr } = await runCli([...command, '--server', server.address]);
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(/EVENT_STORE_UNAVAILABLE: the event store is not available: [^]*try again in a[^]*espalier logs/);
  }
});
