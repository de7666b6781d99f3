import { mkdtemp, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { requireGoodStart } from './text-start.js';

const MODEL = 'examples/models/factbook-llama-3m';
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'text-start-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function startOf(files: Record<string, string | Uint8Array>, textColumn?: string): Promise<unknown> {
  const paths = Object.keys(files).map((name) => join(folder, name));
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  const fields = paths.map((_, index) => `field[${index}]`);
  return requireGoodStart({ modelPath: MODEL, text: { paths, fields, ...(textColumn === undefined ? {} : { textColumn }) } }).then(
    () => 'good',
    (error: unknown) => error,
  );
}
const LINE = '{"text":"a village"}\n';

test('the first documents of each file are read, and no more', async () => {
  expect(await startOf({ 'a.jsonl': `${LINE.repeat(20)}{"txt":1}\n`, 'b.txt': 'words' })).toBe('good');
  expect(await startOf({ 'a.jsonl': `${LINE.repeat(19)}{"txt":1}\n` })).toMatchObject({ code: 'DATA_MALFORMED', line: 20 });
  expect(await startOf({ 'a.jsonl': LINE, 'b.csv': 'words\nx\n' })).toMatchObject({ code: 'DATA_MALFORMED', field: 'field[1]' });
  expect(await startOf({ 'a.csv': 'words\nx\n' }, 'words')).toBe('good');
  // A packed file that was cut off is not unpacked to its end, so the cut is not found here.
  const packed = gzipSync(LINE.repeat(200_000));
  expect(await startOf({ 'a.jsonl.gz': packed.subarray(0, packed.length - 200) })).toBe('good');
});

test('a text is empty only where all of it is', async () => {
  const blank = '{"text":""}\n';
  expect(await startOf({ 'a.jsonl': blank.repeat(3), 'b.txt': '' })).toMatchObject({ code: 'DATA_EMPTY', field: 'field[0]' });
  expect(await startOf({ 'a.jsonl': blank.repeat(3), 'b.jsonl': LINE })).toBe('good');
  expect(await startOf({ 'a.jsonl': blank.repeat(20) })).toBe('good'); // there may be text further on
});

test('a call that is given up ends with its reason', async () => {
  await writeFile(join(folder, 'a.jsonl'), LINE);
  const text = { paths: [join(folder, 'a.jsonl')] };
  const reason = new Error('given up');
  await expect(requireGoodStart({ modelPath: MODEL, text, signal: AbortSignal.abort(reason) })).rejects.toThrow('given up');
  // If reading the beginning takes too long, the text is accepted.
  await expect(requireGoodStart({ modelPath: MODEL, text, timeMs: 0 })).resolves.toBeUndefined();
});

test('a beginning that was good is read again only after its file has changed', async () => {
  const path = join(folder, 'a.jsonl');
  expect(await startOf({ 'a.jsonl': LINE })).toBe('good');
  const { atime, mtime } = await stat(path);
  await utimes(path, atime, mtime); // in whole milliseconds, which can be set again
  const again = (): Promise<unknown> => requireGoodStart({ modelPath: MODEL, text: { paths: [path] } }).catch((error: unknown) => error);
  expect(await again()).toBeUndefined();
  await writeFile(path, LINE.replace('text', 'txet'));
  await utimes(path, atime, mtime);
  expect(await again()).toBeUndefined();
  await utimes(path, atime, new Date(mtime.getTime() + 1));
  expect(await again()).toMatchObject({ code: 'DATA_MALFORMED' });
});
