// Tests which sockets of earlier servers go, with real processes that listen and are killed.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ownerName } from '#files';
import { recordListener, removeSocket, socketPath } from './socket-path.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-sockets-'));
const children: ChildProcess[] = [];

afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

async function listening(socket: string): Promise<ChildProcess> {
  const program = `require('node:net').createServer().listen(process.argv[1], () => console.log('listening'))`;
  const child = spawn(process.execPath, ['-e', program, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout, 'data');
  return child;
}

async function killed(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

it('a socket whose process was killed goes with its record when the next one is made; one that is listened on stays', async () => {
  const sockets = [socketPath(folder), socketPath(folder)];
  const [first, second] = await Promise.all(sockets.map(listening));
  sockets.forEach((socket, index) => recordListener(folder, socket, [first, second][index]!.pid!));
  await killed(first!);
  expect(existsSync(sockets[0]!)).toBe(true); // the kernel leaves it
  const next = socketPath(folder);
  expect(sockets.map((socket) => existsSync(socket))).toEqual([false, true]);
  expect(new Set([...sockets, next]).size).toBe(3);
  removeSocket(folder, sockets[1]!);
  expect(readdirSync(folder)).toEqual([]);
});

it('a socket without a record stays, and so does a file that no record of its own name names', async () => {
  const unrecorded = socketPath(folder);
  const child = await listening(unrecorded);
  const dead = ownerName(child.pid)!;
  await killed(child);
  const file = join(folder, 'mine.sock');
  writeFileSync(file, 'a file of the user');
  const records = { 'engine-1-1': { socket: unrecorded, owner: dead }, 'engine-1-2': { socket: file, owner: dead } };
  for (const [name, record] of Object.entries(records)) writeFileSync(join(folder, `${name}.listener.json`), JSON.stringify(record));
  const damaged = ['{"socket": ', '{}', 'null', '{"socket": 1, "owner": "x"}'];
  damaged.forEach((text, index) => writeFileSync(join(folder, `engine-2-${index}.listener.json`), text));
  socketPath(folder);
  expect([unrecorded, file].map((path) => existsSync(path))).toEqual([true, true]);
});

it('a folder with a long path has its sockets elsewhere, and they go with their own folder', async () => {
  const long = join(folder, 'a'.repeat(90));
  mkdirSync(long);
  const socket = socketPath(long);
  expect(dirname(dirname(socket))).toBe(tmpdir());
  const child = await listening(socket);
  recordListener(long, socket, child.pid!);
  await killed(child);
  removeSocket(long, socketPath(long));
  expect(existsSync(dirname(socket))).toBe(false);
  expect(readdirSync(long)).toEqual([]);
});

it.each([
  ['in the folder', ''],
  ['elsewhere, since the path of the folder is long', 'c'.repeat(90)],
])('a server on a copy of the folder leaves the sockets of the original, %s', async (_, inner) => {
  const [original, copy] = ['original', 'copy'].map((name) => join(folder, name, inner));
  for (const one of [original!, copy!]) mkdirSync(one, { recursive: true });
  const socket = socketPath(original!);
  const child = await listening(socket);
  recordListener(original!, socket, child.pid!);
  const record = readdirSync(original!).find((name) => name.endsWith('.json'))!;
  copyFileSync(join(original!, record), join(copy!, record));
  await killed(child);
  socketPath(copy!);
  expect([existsSync(socket), readdirSync(copy!)]).toEqual([true, []]);
  socketPath(original!);
  expect([existsSync(socket), existsSync(join(original!, record))]).toEqual([false, false]);
});

it('a folder that was moved, or copied with its sockets, loses those of dead processes', async () => {
  const [before, after] = [join(folder, 'before'), join(folder, 'after')];
  mkdirSync(before);
  const socket = socketPath(before);
  const child = await listening(socket);
  recordListener(before, socket, child.pid!);
  await killed(child);
  renameSync(before, after);
  socketPath(after);
  expect(readdirSync(after)).toEqual([]);
});

it('the folder of such a socket stays where another program has a file in it', () => {
  const long = join(folder, 'b'.repeat(90));
  mkdirSync(long);
  const socket = socketPath(long);
  recordListener(long, socket, process.pid);
  const foreign = join(dirname(socket), 'foreign');
  writeFileSync(foreign, '');
  removeSocket(long, socket);
  expect([existsSync(foreign), readdirSync(long)]).toEqual([true, []]);
  rmSync(dirname(socket), { recursive: true });
  expect(() => removeSocket(long, socket)).not.toThrow(); // a program that tidies up was there first
});
