import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { Client, credentials, Server as GrpcServer } from '@grpc/grpc-js';
import { isLoopbackAddress, listenForSameUser, peerUid } from '#local-access';

const ANOTHER_USER = 65_534;
const canBeAnother = process.getuid?.() === 0;

describe('whose a connection is', () => {
  const open: (Socket | Server)[] = [];
  afterEach(() => {
    for (const one of open.splice(0))
      if ('destroy' in one) one.destroy();
      else one.close();
  });

  async function accepted(listenOn: string, connectTo: string): Promise<Socket> {
    const server = createServer().listen(0, listenOn);
    open.push(server);
    await once(server, 'listening');
    const coming = once(server, 'connection');
    open.push(connect((server.address() as AddressInfo).port, connectTo));
    const [socket] = (await coming) as [Socket];
    open.push(socket);
    return socket;
  }

  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['::', '127.0.0.1'],
    ['127.0.0.1', '::ffff:127.0.0.1'],
  ])('is known on %s for a client of %s', async (listenOn, connectTo) => {
    expect(peerUid(await accepted(listenOn, connectTo))).toBe(process.getuid!());
  });

  it('is not known once its other end has gone', async () => {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    open.push(server);
    await once(server, 'listening');
    const coming = once(server, 'connection');
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [socket] = (await coming) as [Socket];
    open.push(socket.on('error', () => undefined));
    const { remoteAddress, remotePort, localAddress, localPort } = socket;
    client.resetAndDestroy();
    await once(client, 'close');
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(peerUid({ remoteAddress, remotePort, localAddress, localPort })).toBeUndefined();
  });
});

describe('a server for the same user', () => {
  const refused: (number | undefined)[] = [];
  const server = new GrpcServer();
  let port: number;
  let close: () => void;

  beforeAll(async () => {
    const echo = {
      path: '/t/Echo',
      requestStream: false,
      responseStream: false,
      requestSerialize: Buffer.from,
      requestDeserialize: Buffer.from,
    };
    server.addService(
      { echo: { ...echo, responseSerialize: Buffer.from, responseDeserialize: Buffer.from } },
      {
        echo: (call: { request: Buffer }, callback: (error: null, value: Buffer) => void) => callback(null, call.request),
      },
    );
    ({ port, close } = await listenForSameUser(server, { host: '127.0.0.1', port: 0 }, (uid) => refused.push(uid)));
  });
  afterAll(() => {
    close();
    server.forceShutdown();
  });

  it('answers its own user', async () => {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const answer = await new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest('/t/Echo', Buffer.from, Buffer.from, Buffer.from('hello'), (error, value) =>
        error ? reject(error) : resolve(value!),
      );
    });
    expect(answer.toString()).toBe('hello');
    client.close();
  });

  (canBeAnother ? it : it.skip)('closes the connection of another', async () => {
    const program =
      `require('net').connect(${port}, '127.0.0.1').on('error', () => {})` +
      `.on('data', () => process.exit(3)).on('close', () => process.exit(7)).write('PRI * HTTP/2.0')`;
    const stranger = spawn(process.execPath, ['-e', program], { uid: ANOTHER_USER, gid: ANOTHER_USER, cwd: '/', stdio: 'ignore' });
    expect(await once(stranger, 'exit')).toEqual([7, null]);
    expect(refused).toEqual([ANOTHER_USER]);
  });
});

test.each([
  ['127.0.0.1:7433', true],
  ['127.8.8.8:1', true],
  ['localhost:7433', true],
  ['[::1]:7433', true],
  ['unix:/tmp/a', true],
  ['0.0.0.0:7433', false],
  ['[::]:7433', false],
  ['10.0.0.1:7433', false],
  ['127.0.0.1.example.org:80', false],
  ['localhost.example.org:80', false],
])('only this machine reaches %s: %s', (address, expected) => {
  expect(isLoopbackAddress(address)).toBe(expected);
});
