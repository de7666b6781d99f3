// The scripts that make a model and its text for docs/study.md.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'model-scripts-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const script = (name: string, ...parameters: string[]): string =>
  execFileSync(process.execPath, [join(ROOT, 'scripts', name), ...parameters], { encoding: 'utf8', stdio: 'pipe' });

test('a random model has the shape that is asked for, and the same bytes for the same seed', () => {
  const shape = join(ROOT, 'examples/studies/grouped-queries.json');
  const tokenizer = join(ROOT, 'examples/models/factbook-llama-3m');
  const weights = (name: string, seed: string): Buffer => {
    script('random-model.mjs', join(folder, name), shape, tokenizer, seed);
    return readFileSync(join(folder, name, 'model.safetensors'));
  };
  const first = weights('first', '1');
  expect(weights('again', '1').equals(first)).toBe(true);
  expect(weights('other', '2').equals(first)).toBe(false);
  const length = Number(first.readBigUInt64LE());
  const header = JSON.parse(first.toString('utf8', 8, 8 + length)) as Record<string, { shape: number[]; data_offsets: [number, number] }>;
  expect(header['model.layers.0.self_attn.k_proj.weight']!.shape).toEqual([32, 128]); // 2 key heads of 16
  expect(Object.keys(header)).toHaveLength(3 + 6 * 9);
  expect(Math.max(...Object.values(header).map(({ data_offsets }) => data_offsets[1]))).toBe(first.length - 8 - length);
  expect(() => weights('first', '1')).toThrow(/has a model already/);
});

test('documents are split by the digests of their ids, each into one part', () => {
  const ids = Array.from({ length: 40 }, (_, index) => `document ${index}`);
  const documents = join(folder, 'documents.jsonl');
  writeFileSync(documents, ids.map((id) => `${JSON.stringify({ id, text: `text of ${id}` })}\n`).join(''));
  script('split-text.mjs', join(folder, 'data'), documents, '0.1');
  const idsOf = (part: string): string[] => {
    const lines = readFileSync(join(folder, 'data', `${part}.jsonl`), 'utf8')
      .trim()
      .split('\n');
    return lines.map((line) => (JSON.parse(line) as { id: string }).id);
  };
  const [train, validation, held] = [idsOf('train'), idsOf('validation'), idsOf('test')];
  expect([train.length, validation.length, held.length]).toEqual([32, 4, 4]);
  expect([...train, ...validation, ...held].sort()).toEqual([...ids].sort());
  const digest = (id: string): string => createHash('sha256').update(id).digest('hex');
  const byDigest = [...ids].sort((left, right) => (digest(left) < digest(right) ? -1 : 1));
  expect([[...validation].sort(), [...held].sort()]).toEqual([byDigest.slice(0, 4).sort(), byDigest.slice(4, 8).sort()]);
});
