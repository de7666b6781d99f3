import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, open, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestOfSlices, encodeSliceList } from '#files';
import type { ArtifactStore } from './artifact-store.js';
import { toArtifactError } from './artifact-store.errors.js';
import { digestOf } from './digest.js';
import { openArtifactStore } from './open-artifact-store.js';
import { decodeExportManifest, encodeExportManifest } from './export-manifest.js';
import { describesAnArtifactStore } from './testing/store-contract.js';

let folder: string;
let store: ArtifactStore;
const text = (value: string) => Buffer.from(value, 'utf8');

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-store-'));
  store = await openArtifactStore({ folder });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describesAnArtifactStore(() => ({ store, damage: (digest, bytes) => writeFile(store.pathOf!(digest), bytes) }));

test('a vanished folder is not a missing artifact', async () => {
  await rm(folder, { recursive: true });
  await expect(store.put(text('x'))).rejects.toMatchObject({ code: 'ARTIFACT_STORE_UNAVAILABLE' });
});

test('a folder incoming/ that was removed is made again, and a file that went with it is told as gone', async () => {
  await rm(join(folder, 'incoming'), { recursive: true });
  const { digest } = await store.put(text('after'));
  expect(await store.verify(digest)).toBe('ok');
  const incoming = store.incoming.newPath();
  await writeFile(incoming, 'written by the engine');
  await rm(join(folder, 'incoming'), { recursive: true });
  await expect(store.adopt(incoming, digestOf(text('written by the engine')))).rejects.toMatchObject({
    code: 'ARTIFACT_STORE_UNAVAILABLE',
  });
  expect(await readdir(join(folder, 'incoming'))).toEqual([]); // the folder is back: so only the file is gone, which the recorder relies on
});

test('manifest: round trip, order does not matter, bad names are refused', () => {
  const file = (name: string) => ({ name, bytes: 3, digest: digestOf(text(name)) });
  const encoded = encodeExportManifest([file('b.json'), file('a/x.bin')]);
  expect(encoded).toEqual(encodeExportManifest([file('a/x.bin'), file('b.json')]));
  expect(decodeExportManifest(encoded)).toEqual([file('a/x.bin'), file('b.json')]);
  for (const name of ['../up', '/etc/x', 'a/../b', '', '.hidden']) {
    expect(() => decodeExportManifest(encodeExportManifest([file(name)]))).toThrow(expect.objectContaining({ code: 'ARTIFACT_CORRUPT' }));
  }
});

test('files on their way in are told by the names that writers give them: a UUID, and one with a step behind it', async () => {
  const incoming = store.incoming;
  const [put, ofEngine] = [randomUUID(), `${randomUUID()}-1400`];
  for (const name of [put, ofEngine, 'thesis.txt']) await writeFile(join(folder, 'incoming', name), 'half');
  const found = [];
  for await (const file of incoming.list()) found.push(file);
  expect(found.map(({ name, bytes, isInUse }) => [name, bytes, isInUse])).toEqual([put, ofEngine].sort().map((name) => [name, 4, false]));
  for (const { name } of found) expect(await incoming.remove(name)).toBe(true);
  expect(await incoming.remove('thesis.txt')).toBe(false); // the file is not the store's and stays
  expect(await readdir(join(folder, 'incoming'))).toEqual(['thesis.txt']);
});

test.each([
  ['ENOSPC', 'ARTIFACT_STORE_FULL'],
  ['EDQUOT', 'ARTIFACT_STORE_FULL'],
  ['EROFS', 'ARTIFACT_STORE_READ_ONLY'],
  ['EACCES', 'ARTIFACT_STORE_READ_ONLY'],
  ['ENOENT', 'ARTIFACT_MISSING'],
  ['EIO', 'ARTIFACT_CORRUPT'],
  ['EMFILE', 'ARTIFACT_STORE_UNAVAILABLE'],
])('%s becomes %s', (errno, code) => {
  const digest = `0123456789ab${'c'.repeat(52)}`;
  const error = toArtifactError(Object.assign(new Error(errno), { code: errno }), 'write', digest);
  expect(error).toMatchObject({ code, digest, message: expect.stringMatching(/artifact 0123456789ab\b/) as string });
});

test('what is not an artifact is listed apart, and disturbs no list', async () => {
  const { digest } = await store.put(text('mine'));
  await writeFile(join(folder, 'objects', 'notes.txt'), 'yours');
  await writeFile(join(folder, 'objects', digest.slice(0, 2), 'draft'), 'yours too');
  const listed: string[] = [];
  for await (const entry of store.list()) listed.push(entry.digest);
  expect(listed).toEqual([digest]);
  const unknownFiles: string[] = [];
  for await (const path of store.unknownFiles()) unknownFiles.push(path);
  const expected = [join(folder, 'objects', digest.slice(0, 2), 'draft'), join(folder, 'objects', 'notes.txt')];
  expect(unknownFiles.sort()).toEqual(expected.sort());
});

test('an artifact of more than 4 GiB is measured and read by ranges; holes stand for its bytes', async () => {
  const slices = ['0', '1', '2'].map((digit) => ({ digest: digit.repeat(64), bytes: 2 ** 31 }));
  const digest = digestOfSlices(slices);
  const path = store.incoming.newPath();
  await mkdir(path);
  for (const { digest: name, bytes } of slices) {
    await writeFile(join(path, name), '');
    await truncate(join(path, name), bytes);
  }
  const last = await open(join(path, slices[2]!.digest), 'r+');
  await last.write('there', 2 ** 31 - 5);
  await last.close();
  await writeFile(join(path, 'list'), encodeSliceList(slices));
  await store.adopt(path, digest);
  expect(await store.stat(digest)).toMatchObject({ bytes: 6 * 2 ** 30 });
  expect(Buffer.from(await store.range(digest, 6 * 2 ** 30 - 5, 10)).toString()).toBe('there');
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.open(digest, 6 * 2 ** 30 - 3)) chunks.push(chunk);
  expect(Buffer.concat(chunks).toString()).toBe('ere');
});

test('an artifact in slices is whole or not there, also while it is stored again and removed', async () => {
  const content = Buffer.alloc(40 * 4_096, 'content of a state');
  const slices = Array.from({ length: 40 }, (_, index) => ({
    digest: digestOf(content.subarray(index * 4_096, (index + 1) * 4_096)),
    bytes: 4_096,
  }));
  const digest = digestOfSlices(slices);
  const put = () => store.put(content, { expectedDigest: digest, slices });
  const seen = new Set<string>();
  let isOver = false;
  const looking = async (): Promise<void> => {
    while (!isOver) seen.add(await store.verify(digest));
  };
  await put();
  const looks = [looking(), looking()];
  for (let round = 0; round < 20; round++) await put();
  expect(seen).toEqual(new Set(['ok']));
  for (let round = 0; round < 20; round++) {
    await store.delete(digest);
    await put();
  }
  isOver = true;
  await Promise.all(looks);
  expect(seen).not.toContain('corrupt');
  expect(await readdir(join(folder, 'incoming'))).toEqual([]);
});
