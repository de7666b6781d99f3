import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v1 } from '#protocol';
import { listFiles } from './file-list.js';

let base: string;
let roots: string[];
let hidden: string[];
beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'file-list-')));
  const [root, outside] = [join(base, 'root'), join(base, 'outside')];
  for (const folder of [root, outside, join(root, 'model'), join(root, 'plain'), join(root, 'server'), join(root, '.hidden')])
    mkdirSync(folder, { recursive: true });
  writeFileSync(join(outside, 'secret.txt'), 'secret');
  writeFileSync(join(outside, 'model.safetensors'), 'weights');
  writeFileSync(join(root, 'model', 'config.json'), '{}');
  writeFileSync(join(root, 'model', 'model.safetensors'), '12345');
  writeFileSync(join(root, 'train.jsonl'), 'text');
  writeFileSync(join(root, 'image.png'), '');
  symlinkSync(join(outside, 'secret.txt'), join(root, 'out.txt'));
  symlinkSync(outside, join(root, 'out'));
  symlinkSync(join(root, 'train.jsonl'), join(root, 'again.jsonl'));
  roots = [root, join(base, 'missing')];
  hidden = [join(root, 'server')];
});
afterEach(() => rmSync(base, { recursive: true }));

const list = async (path: string): Promise<string[]> =>
  (await listFiles(path, { roots, hidden })).entries.map(({ kind, name, bytes }) =>
    `${v1.fileKindToJSON(kind).replace('FILE_KIND_', '').toLowerCase()} ${name} ${bytes}`.replace(`${base}/`, ''),
  );
const codeOf = (error: unknown): string => (error as { code: string }).code;
const refusal = (path: string): Promise<unknown> => listFiles(path, { roots, hidden }).catch((error: unknown) => codeOf(error));

test('one begins in the roots that are there; a folder tells its models, folders and texts, and nothing that leads out', async () => {
  expect(await list('')).toEqual(['folder root 0']);
  expect(await list(join(base, 'root'))).toEqual(['model model 5', 'folder plain 0', 'text again.jsonl 4', 'text train.jsonl 4']);
});

test('a path that is being typed leads to the nearest folder; one can go up to a root and no further', async () => {
  const half = await listFiles(join(base, 'root', 'plain', 'nothing', 'yet'), { roots, hidden });
  expect([half.folderPath, half.parentPath]).toEqual([join(base, 'root', 'plain'), join(base, 'root')]);
  expect((await listFiles(join(base, 'root', 'train.jsonl'), { roots, hidden })).parentPath).toBe('');
});

test('what lies outside is refused, by a link, by dots, and by a name that begins like a root', async () => {
  mkdirSync(join(base, 'root2'));
  for (const path of ['/', base, join(base, 'outside'), join(base, 'root', 'out'), join(base, 'root2'), `${base}/root/../outside`])
    expect([path, await refusal(path)]).toEqual([path, 'PATH_NOT_ALLOWED']);
  expect(await refusal(join(base, 'root', 'server'))).toBe('PATH_NOT_ALLOWED');
});

test('the weights of a model count only where they lie inside', async () => {
  mkdirSync(join(base, 'root', 'linked'));
  writeFileSync(join(base, 'root', 'linked', 'config.json'), '{}');
  symlinkSync(join(base, 'outside', 'model.safetensors'), join(base, 'root', 'linked', 'model.safetensors'));
  expect(await list(join(base, 'root'))).toContain('folder linked 0');
  rmSync(join(base, 'root', 'linked', 'model.safetensors'));
  symlinkSync('../model/model.safetensors', join(base, 'root', 'linked', 'model.safetensors'));
  expect(await list(join(base, 'root'))).toContain('model linked 5');
});

test('an answer has a thousand entries at most, and says how many are left out', async () => {
  for (let index = 0; index < 1_010; index += 1) writeFileSync(join(base, 'root', 'plain', `${index}.txt`), '');
  const { entries, leftOut } = await listFiles(join(base, 'root', 'plain'), { roots, hidden });
  expect([entries.length, leftOut]).toEqual([1_000, 10]);
});
