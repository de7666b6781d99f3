import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messagesFrom, startReading, send, type ReadingLimits } from './reading-process.js';

/** Code that blocks a process as an endless loop would, but takes no processor time. */
const FOR_EVER = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);';
const LIBRARY = new URL('./reading-process.js', import.meta.url).href;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reading-process-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function entry(work: string): Promise<string> {
  const path = join(folder, 'entry.mjs');
  await writeFile(
    path,
    `import { readingProcess } from '${LIBRARY}';\nawait readingProcess(async (task, { send, onMessage }) => {${work}});\n`,
  );
  return path;
}

async function heard(work: string, limits: Partial<ReadingLimits> = {}, heapMb?: number): Promise<unknown[]> {
  const messages: unknown[] = [];
  const child = startReading(await entry(work), { size: 3 }, heapMb);
  const told = { silent: () => new Error('silent'), tooLarge: () => new Error('too large') };
  for await (const message of messagesFrom(child, { silenceMs: 280_000, ...told, ...limits })) {
    messages.push(message);
    if (message === 'done') break;
  }
  return messages;
}

test('bytes and texts arrive in order', async () => {
  const work = `for (let n = 0; n < task.size; n += 1) send(new Uint8Array(1 << 20).fill(n)); send('done');`;
  const [first, , third, done] = (await heard(work)) as [Uint8Array, Uint8Array, Uint8Array, string];
  expect([first.byteLength, first[0], third[1], done]).toEqual([1 << 20, 0, 2, 'done']);
});

test('what a process sent is heard though it has ended and can be told nothing more', async () => {
  const child = startReading(await entry(`send('tokens'); await new Promise((sent) => setTimeout(sent, 300)); send('done');`), {});
  const messages: unknown[] = [];
  for await (const message of messagesFrom(child, { silenceMs: 280_000, silent: () => new Error(), tooLarge: () => new Error() })) {
    messages.push(message);
    if (message === 'done') break;
    // This loop blocks the event loop, so the last message is still unread when the process is gone.
    while (!/\) Z /.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8')));
    send(child, 'taken');
  }
  expect(messages).toEqual(['tokens', 'done']);
});

test.each<[string, string, number | undefined]>([
  ['a heap that grows', 'const kept = []; for (;;) kept.push(new Array(1e6).fill(0.5));', 256],
  ['an array that is too long', 'const kept = []; for (;;) kept.push(1);', undefined],
])('%s ends the process alone', async (_, work, heapMb) => {
  await expect(heard(work, {}, heapMb)).rejects.toThrow('too large');
});

test.each(['SIGKILL', 'SIGTERM'])('a process that is killed from outside by %s has not refused its input', async (signal) => {
  await expect(heard(`process.kill(process.pid, '${signal}'); ${FOR_EVER}`)).rejects.toMatchObject({
    code: 'READER_LOST',
    message: expect.stringContaining(`killed from outside (${signal})`) as string,
  });
});

test('a process that says nothing is given up; one that works for long without an end is not', async () => {
  await expect(heard(FOR_EVER, { silenceMs: 1_000 })).rejects.toThrow('silent');
  const slow = `await new Promise((resolve) => setTimeout(resolve, 10_000)); send('done');`;
  expect(await heard(slow, { silenceMs: 6_000 })).toEqual(['done']);
});

test('it ends with its call, and with the process that started it', async () => {
  await expect(heard(FOR_EVER, { signal: AbortSignal.timeout(300) })).rejects.toThrow(/timeout/);
  const program = await entry(FOR_EVER);
  const parent = spawn(process.execPath, [
    '--input-type=module',
    '-e',
    `import { startReading } from '${LIBRARY}'; startReading('${program}', {}); setInterval(() => undefined, 1000);`,
  ]);
  const running = (): boolean => execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).includes(`${folder}/entry.mjs`);
  while (!running()) await sleep(50);
  await sleep(1_000);
  parent.kill('SIGKILL');
  for (let waited = 0; running() && waited < 120_000; waited += 100) await sleep(100);
  expect(running()).toBe(false);
});
