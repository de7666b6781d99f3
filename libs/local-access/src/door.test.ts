import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { Client, credentials, Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { isLoopbackAddress, isOwnUser, openDoor, openGrpcDoor, peerUid, type Door, type Refusal } from '#local-access';

const ANOTHER_USER = 65_534;
const HERE = { host: '127.0.0.1', port: 0, admits: isOwnUser, otherMachines: false };
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
  const refused: Refusal[] = [];
  const server = new GrpcServer();
  let door: Door;

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
    door = await openGrpcDoor(server, ServerCredentials.createInsecure(), { ...HERE, onRefused: (refusal) => refused.push(refusal) });
  });
  afterAll(() => {
    door.close();
    server.forceShutdown();
  });

  it('answers its own user', async () => {
    const client = new Client(`127.0.0.1:${door.port}`, credentials.createInsecure());
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
      `require('net').connect(${door.port}, '127.0.0.1').on('error', () => {})` +
      `.on('data', () => process.exit(3)).on('close', () => process.exit(7)).write('PRI * HTTP/2.0')`;
    const stranger = spawn(process.execPath, ['-e', program], { uid: ANOTHER_USER, gid: ANOTHER_USER, cwd: '/', stdio: 'ignore' });
    expect(await once(stranger, 'exit')).toEqual([7, null]);
    expect(refused).toEqual([{ why: 'another-user', uid: ANOTHER_USER }]);
  });
});

describe('a door', () => {
  const doors: Door[] = [];
  const ends: Socket[] = [];
  afterEach(() => {
    for (const door of doors.splice(0)) door.close();
    for (const end of ends.splice(0)) end.destroy();
  });

  async function door(connectionsMax?: number): Promise<{ door: Door; entered: Socket[]; refused: Refusal[]; client(): Promise<Socket> }> {
    const entered: Socket[] = [];
    const refused: Refusal[] = [];
    const options = { ...HERE, ...(connectionsMax === undefined ? {} : { connectionsMax }) };
    const listener = createServer((socket) => {
      ends.push(socket);
      entered.push(socket.on('data', () => undefined));
    });
    const door = await openDoor(listener, { ...options, onRefused: (refusal) => refused.push(refusal) });
    doors.push(door);
    const client = async (): Promise<Socket> => {
      const socket = connect(door.port, '127.0.0.1').on('error', () => undefined);
      ends.push(socket);
      await once(socket, 'connect');
      return socket;
    };
    return { door, entered, refused, client };
  }

  /**
   * Runs a client in a process of its own and waits until it has connected and done its deed. This process has not looked at the connection
   * yet, so the kernel holds it.
   */
  function beforeWeLook(port: number, deed: string): void {
    const client = `const s = require('net').connect({ port: ${port}, host: '127.0.0.1', allowHalfOpen: true }, () => { ${deed} });
      s.on('error', () => undefined).on('close', () => process.exit()).resume();
      const done = () => process.stdout.write('done');`;
    const begin = `require('child_process').spawn(process.execPath, ['-e', process.argv[1]], { stdio: ['ignore', 'pipe', 'ignore'] })
      .stdout.once('data', () => process.exit())`;
    expect(spawnSync(process.execPath, ['-e', begin, client]).stderr.toString()).toBe('');
  }

  it.each([
    ['has closed its half', "s.end('GET / HTTP/1.1\\r\\n\\r\\n', () => done())"],
    ['is gone, with what it wrote still unread', "s.write('GET / HTTP/1.1\\r\\n\\r\\n', () => { s.destroy(); done(); })"],
    ['has cut the connection', 's.resetAndDestroy(); done()'],
  ])('refuses a client that %s before it is looked at', async (_name, program) => {
    const { door: opened, entered, refused, client } = await door();
    beforeWeLook(opened.port, program);
    await client(); // this client connects after that one
    await eventually(() => entered.length === 1 && refused.length === 1);
    expect(refused).toEqual([{ why: 'unknown-user' }]);
  });

  it('knows whose a connection is for as long as it is open, also when its other half is closed', async () => {
    const { door: opened, entered, client } = await door();
    const socket = await client();
    await eventually(() => entered.length === 1);
    const { remoteAddress, remotePort, localAddress, localPort } = entered[0]!;
    const both = { remoteAddress, remotePort, localAddress, localPort };
    entered[0]!.pause();
    socket.end();
    await once(socket, 'finish');
    expect(opened.peerOf(both)).toEqual({ uid: process.geteuid!() });
    entered[0]!.destroy();
    await eventually(() => opened.peerOf(both) === undefined);
  });

  it('lets the oldest connection that has shown nothing make way, and no other', async () => {
    const { door: opened, entered, refused, client } = await door(3);
    const nth = async (n: number): Promise<Socket> => {
      await client();
      await eventually(() => entered.length === n);
      return entered[n - 1]!;
    };
    const [first, second, third] = [await nth(1), await nth(2), await nth(3)];
    opened.trust(first);
    const fourth = await nth(4);
    expect([first, second, third, fourth].map((one) => one.destroyed)).toEqual([false, true, false, false]);
    opened.trust(third);
    opened.trust(fourth);
    await client();
    await eventually(() => refused.length === 1);
    expect(refused).toEqual([{ why: 'no-room' }]);
    fourth.destroy();
    await once(fourth, 'close');
    expect((await nth(5)).destroyed).toBe(false);
  });

  it('tells many connections that come together apart, each by its own row', async () => {
    const { door: opened, entered, client } = await door();
    await Promise.all(Array.from({ length: 100 }, client));
    await eventually(() => entered.length === 100);
    expect(new Set(entered.map((one) => JSON.stringify(opened.peerOf(one))))).toEqual(new Set([`{"uid":${process.geteuid!()}}`]));
  });
});

async function eventually(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

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
