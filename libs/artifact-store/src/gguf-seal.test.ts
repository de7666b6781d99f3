// Tests the digest that a GGUF file holds of itself: after another program has changed the file, the renewed digest fits the changed file.
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renewSeal, sealIn, withoutSeal } from './gguf-seal.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gguf-seal-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const file = (digits: string, body: Buffer): Buffer =>
  Buffer.concat([Buffer.from('GGUFespalier.sha256'), Buffer.alloc(12), Buffer.from(digits), body]);

test('it is written again over all other bytes, and read back piece by piece', async () => {
  const path = join(folder, 'model.gguf');
  const body = Buffer.alloc(2_500_000, 3);
  await writeFile(path, file('f'.repeat(64), body));
  await renewSeal(path);
  const now = await readFile(path);
  const expected = createHash('sha256')
    .update(file('0'.repeat(64), body))
    .digest('hex');
  expect(now.equals(file(expected, body))).toBe(true);
  const seal = sealIn(now)!;
  expect(seal.digest).toBe(expected);
  const hash = createHash('sha256');
  for (let at = 0; at < now.byteLength; at += 50) hash.update(withoutSeal(now.subarray(at, at + 50), at, seal)); // cuts the digest
  expect(hash.digest('hex')).toBe(expected);
});

test('a file without one stays as it is', async () => {
  const path = join(folder, 'other.gguf');
  await writeFile(path, 'GGUF of another program');
  await renewSeal(path);
  expect(await readFile(path, 'utf8')).toBe('GGUF of another program');
});
