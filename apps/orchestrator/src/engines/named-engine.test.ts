// Tests that nothing is sent to an address before it is known which user answers there.
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { namedEngine } from './named-engine.js';

const owner = process.geteuid!();
let server: Server;
let met: Socket[];
let heard: number;

beforeEach(async () => {
  met = [];
  heard = 0;
  server = createServer((socket) => {
    met.push(socket.on('error', () => undefined));
    socket.on('data', ({ length }) => {
      heard += length;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  process.geteuid = () => owner;
  for (const socket of met) socket.destroy();
  server.close();
});

test('what another user runs is told nothing, whatever it would be asked', async () => {
  process.geteuid = () => owner + 1; // makes the server belong to another user
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const connector = namedEngine({ address, leaseMs: 1_000, folderId: 'folder', mayRenew: () => true });
  const message = `the process that answers at ${address} belongs to another user (${owner}): the server sends it nothing`;
  const refusal = { code: 'ENGINE_OF_ANOTHER_USER', message };
  await expect(connector.connect(new AbortController().signal)).rejects.toMatchObject(refusal);
  await expect(connector.visit()).rejects.toMatchObject(refusal);
  expect(await connector.look(1_000)).toBeNull();
  expect(heard).toBe(0);
});
