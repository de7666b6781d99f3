// Tests what a program that reads an export can reach: real programs try, where this machine allows namespaces.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { confined, type Confined } from './confined.js';

let folder: string;
let place: { folder: string; hidden: string; modelBytes: number };
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'confined-'));
  place = { folder: join(folder, 'export'), hidden: join(folder, 'data'), modelBytes: 1 };
  for (const path of [place.folder, place.hidden]) await mkdir(path);
  await writeFile(join(place.hidden, 'token'), 'a secret of the server');
  await writeFile(join(place.hidden, 'artifact'), 'weights');
  await symlink(join(place.hidden, 'artifact'), join(place.folder, 'model.safetensors'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

interface Ran {
  status: number | null;
  output: string;
  inReach: string;
}
async function run({ command, args, env, inReach }: Confined): Promise<Ran> {
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
  const closed = once(child, 'close') as Promise<[number | null]>;
  const output = await text(child.stdout);
  return { status: (await closed)[0], output, inReach };
}
const node = (script: string) => (): string[] => [process.execPath, '-e', script];

test('a program reads the files of the export and nothing of the data folder, and finds an empty home', async () => {
  const script = (at: string): string[] => [
    process.execPath,
    '-e',
    `const { readFileSync, readdirSync } = require('fs');
     const tried = (path) => { try { return readFileSync(path, 'utf8'); } catch (error) { return error.code; } };
     console.log(JSON.stringify([tried(process.argv[1] + '/model.safetensors'), tried(process.argv[2]), readdirSync(process.env.HOME)]));`,
    at,
    join(place.hidden, 'token'),
  ];
  const { status, output, inReach } = await confined(place, script, run);
  const secret = inReach === '' ? 'EACCES' : (expect.any(String) as string);
  expect([status, JSON.parse(output)]).toEqual([0, ['weights', secret, []]]);
  expect((await readdir(place.hidden)).sort()).toEqual(['artifact', 'token']);
});

test('it gets no variable of the server, such as a key of a bucket', async () => {
  process.env['AWS_SECRET_ACCESS_KEY'] = 'a key';
  try {
    expect(JSON.parse((await confined(place, node('console.log(JSON.stringify(process.env))'), run)).output)).not.toHaveProperty(
      'AWS_SECRET_ACCESS_KEY',
    );
  } finally {
    delete process.env['AWS_SECRET_ACCESS_KEY'];
  }
});

test('it reaches no network, not even this machine, and sees no other process', async () => {
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const script = `const done = (how) => { console.log(how, require('fs').existsSync('/proc/${process.pid}/environ')); process.exit(0); };
    require('net').connect(${port}, '127.0.0.1').on('connect', () => done('connected')).on('error', () => done('refused'));`;
  const { output, inReach } = await confined(place, node(script), run);
  server.close();
  expect(output.trim()).toBe(inReach === '' ? 'refused false' : inReach.includes('network') ? 'connected true' : 'refused true');
});

test('its memory has a limit', async () => {
  const taking = (bytes: number) => node(`Buffer.alloc(${bytes}, 1); console.log('had it')`);
  expect((await confined(place, taking(2 ** 28), run)).output).toBe('had it\n');
  const { status, output } = await confined(place, taking(4.5 * 2 ** 30), run);
  expect([status === 0, output]).toEqual([false, '']);
});
