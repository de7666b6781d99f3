// Tests the use of a foreign program that works on files. Scripts take its place.
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ownerName } from '#files';
import { quantized, type Quantizer } from './quantizer.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quantizer-'));
  await writeFile(join(folder, 'model.gguf'), 'whole model');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function script(text: string): Promise<Quantizer> {
  const path = join(folder, 'quantize');
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
  return (from, to, dtype, threads) => [path, from, to, dtype, String(threads)];
}
/** The folders of exports that this process has left. Other processes of the machine make their own meanwhile. */
const left = async (): Promise<string[]> => (await readdir(tmpdir())).filter((name) => name.startsWith(`espalier-export-${ownerName()!}.`));

async function through(quantizer: Quantizer, signal = new AbortController().signal): Promise<{ text: string; notes: string[] }> {
  const notes: string[] = [];
  let text = '';
  for await (const chunk of quantized(join(folder, 'model.gguf'), 'q4_k_m', quantizer, 3, signal, (note) => notes.push(note)))
    text += chunk.toString();
  return { text, notes };
}

test('what it makes is passed on, and what it had to make otherwise is told', async () => {
  const quantizer = await script(
    '(cat "$1"; echo " as $3 by $4") > "$2"; echo "WARNING: 5 of 9 tensor(s) required fallback quantization" >&2',
  );
  expect(await through(quantizer)).toEqual({
    text: 'whole model as q4_k_m by 3\n',
    notes: ['Quantized to q4_k_m by llama.cpp; 5 of 9 tensors have a type of their own, as their rows are not multiples of 256.'],
  });
  expect((await through(await script('cp "$1" "$2"'))).notes).toEqual(['Quantized to q4_k_m by llama.cpp.']);
  expect(await left()).toEqual([]);
});

test('where it fails its last words are the error, and nothing is left', async () => {
  await expect(through(await script('echo one >&2; echo "no such tensor" >&2; exit 7'))).rejects.toMatchObject({
    code: 'QUANTIZER_FAILED',
    message: "llama.cpp's quantizer ended with 7: no such tensor",
  });
  await expect(through(await script('kill -9 $$'))).rejects.toMatchObject({ code: 'QUANTIZER_FAILED' });
  expect(await left()).toEqual([]);
});

test('it ends when the call does', async () => {
  const ending = AbortSignal.timeout(50);
  await expect(through(await script('exec sleep 600'), ending)).rejects.toThrow();
});
