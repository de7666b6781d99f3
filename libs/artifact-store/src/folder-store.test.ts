import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { ArtifactEntry, ArtifactStore } from './artifact-store.js';
import { toArtifactError } from './artifact-store.errors.js';
import { digestOf } from './digest.js';
import { openArtifactStore } from './open-artifact-store.js';
import { decodeExportManifest, encodeExportManifest } from './export-manifest.js';

let folder: string;
let store: ArtifactStore;
const text = (value: string) => Buffer.from(value, 'utf8');
async function* pieces(...values: Uint8Array[]) {
  yield* values;
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-store-'));
  store = await openArtifactStore({ folder });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('bytes come back under their digest, whole and from an offset', async () => {
  const put = await store.put(pieces(text('one '), text('two')));
  expect(put).toEqual({ digest: digestOf(text('one two')), bytes: 7 });
  expect(Buffer.from(await store.get(put.digest)).toString()).toBe('one two');
  const tail: Uint8Array[] = [];
  for await (const chunk of store.open(put.digest, 4)) tail.push(chunk);
  expect(Buffer.concat(tail).toString()).toBe('two');
  expect(await readdir(join(folder, 'incoming'))).toEqual([]);
});

test('an empty artifact and one larger than a chunk', async () => {
  const empty = await store.put(new Uint8Array());
  expect((await store.get(empty.digest)).byteLength).toBe(0);
  const large = Buffer.alloc(3_000_001, 7);
  const put = await store.put(large);
  expect(put.digest).toBe(digestOf(large));
  expect(Buffer.compare(Buffer.from(await store.get(put.digest)), large)).toBe(0);
});

test('every flipped byte is found by verify, get and open', async () => {
  const original = text('a small state');
  const { digest } = await store.put(original);
  const path = store.pathOf!(digest);
  for (let index = 0; index < original.byteLength; index++) {
    const damaged = Buffer.from(original);
    damaged[index]! ^= 1;
    await writeFile(path, damaged);
    expect(await store.verify(digest)).toBe('corrupt');
    await expect(store.get(digest)).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT', digest });
  }
  await truncate(path, 3);
  expect(await store.verify(digest)).toBe('corrupt');
  await store.put(original); // storing it again heals it
  expect(await store.verify(digest)).toBe('ok');
});

test('a file that somebody else wrote is taken over, in the place of a damaged one too', async () => {
  const bytes = text('written by the engine');
  const digest = digestOf(bytes);
  for (let round = 0; round < 2; round++) {
    const incoming = store.incoming!.newPath();
    await writeFile(incoming, bytes, { flag: 'wx' });
    await store.adopt!(incoming, digest);
    expect(await store.verify(digest)).toBe('ok');
    expect(await readdir(join(folder, 'incoming'))).toEqual([]);
    await truncate(store.pathOf!(digest), 2);
  }
  const elsewhere = join(folder, 'elsewhere');
  await writeFile(elsewhere, bytes);
  await expect(store.adopt!(elsewhere, digest)).rejects.toThrow('no incoming path');
  await expect(store.adopt!(store.incoming!.newPath(), digest)).rejects.toMatchObject({ code: 'ARTIFACT_STORE_UNAVAILABLE' });
});

test('what is missing says so', async () => {
  const digest = digestOf(text('never stored'));
  expect(await store.stat(digest)).toBeNull();
  expect(await store.verify(digest)).toBe('missing');
  expect(await store.delete(digest)).toBe(false);
  await expect(store.get(digest)).rejects.toMatchObject({ code: 'ARTIFACT_MISSING', digest });
  await expect(store.get('../../etc/passwd')).rejects.toMatchObject({ code: 'ARTIFACT_DIGEST_INVALID' });
});

test('another digest than announced, and a source that fails, leave nothing behind', async () => {
  const announced = digestOf(text('right'));
  await expect(store.put(text('wrong'), { expectedDigest: announced })).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
  async function* failing() {
    yield text('half');
    throw new Error('the source broke');
  }
  await expect(store.put(failing())).rejects.toThrow('the source broke');
  expect(await readdir(join(folder, 'incoming'))).toEqual([]);
  const listed = [];
  for await (const entry of store.list()) listed.push(entry);
  expect(listed).toEqual([]);
});

test("a source's error of a system call is told as it is, not as one of the store's disk", async () => {
  const broken = Object.assign(new Error('write EPIPE'), { code: 'EPIPE', syscall: 'write' });
  const failing = async function* () {
    yield text('some');
    throw broken;
  };
  await expect(store.put(failing())).rejects.toBe(broken);
  expect(await readdir(join(folder, 'incoming'))).toEqual([]);
});

test('a vanished folder is no missing artifact', async () => {
  await rm(folder, { recursive: true });
  await expect(store.put(text('x'))).rejects.toMatchObject({ code: 'ARTIFACT_STORE_UNAVAILABLE' });
});

test('a folder incoming/ that was removed is made again, and a file that went with it is told as gone', async () => {
  await rm(join(folder, 'incoming'), { recursive: true });
  const { digest } = await store.put(text('after'));
  expect(await store.verify(digest)).toBe('ok');
  const incoming = store.incoming!.newPath();
  await writeFile(incoming, 'written by the engine');
  await rm(join(folder, 'incoming'), { recursive: true });
  await expect(store.adopt!(incoming, digestOf(text('written by the engine')))).rejects.toMatchObject({
    code: 'ARTIFACT_STORE_UNAVAILABLE',
  });
  expect(await readdir(join(folder, 'incoming'))).toEqual([]); // the recorder goes by it: only the file is gone
});

test('a digest is told before the bytes are under it, and the store waits for the answer', async () => {
  const digest = digestOf(text('about to be named'));
  const found: unknown[] = [];
  const put = await store.put(text('about to be named'), {
    beforeNamed: async (told) => {
      found.push(told, await store.stat(told));
    },
  });
  expect(found).toEqual([digest, null]);
  expect(await store.verify(put.digest)).toBe('ok');
});

test('list and stat: size and a type told from the bytes', async () => {
  const header = text('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}');
  const lead = Buffer.alloc(8);
  lead.writeBigUInt64LE(BigInt(header.byteLength));
  const tensors = await store.put(Buffer.concat([lead, header, Buffer.alloc(4)]));
  const files = [{ name: 'model.safetensors', bytes: tensors.bytes, digest: tensors.digest }];
  const manifest = await store.put(encodeExportManifest(files));
  const ids = await store.put(Buffer.from(Uint32Array.from([1, 123, 2]).buffer));
  expect((await store.stat(tensors.digest))?.mediaType).toBe('application/x-safetensors');
  expect((await store.stat(manifest.digest))?.mediaType).toBe('application/x-espalier-export-manifest+json');
  expect(await store.stat(ids.digest)).toEqual({ bytes: 12, mediaType: 'application/octet-stream' });
  const listed: string[] = [];
  for await (const entry of store.list()) listed.push(entry.digest);
  expect(listed).toEqual([tensors.digest, manifest.digest, ids.digest].sort());
});

test('manifest: round trip, order does not matter, bad names are refused', () => {
  const file = (name: string) => ({ name, bytes: 3, digest: digestOf(text(name)) });
  const encoded = encodeExportManifest([file('b.json'), file('a/x.bin')]);
  expect(encoded).toEqual(encodeExportManifest([file('a/x.bin'), file('b.json')]));
  expect(decodeExportManifest(encoded)).toEqual([file('a/x.bin'), file('b.json')]);
  for (const name of ['../up', '/etc/x', 'a/../b', '', '.hidden']) {
    expect(() => decodeExportManifest(encodeExportManifest([file(name)]))).toThrow('bad name');
  }
});

test('artifacts are found by the beginning of their digest', async () => {
  const { digest } = await store.put(text('found by its beginning'));
  expect(await store.digestsStartingWith(digest.slice(0, 4))).toEqual([digest]);
  expect(await store.digestsStartingWith(`${digest.slice(0, 4)}${digest[4] === '0' ? '1' : '0'}`)).toEqual([]);
  expect(await store.digestsStartingWith(digestOf(text('no such')).slice(0, 8))).toEqual([]);
});

test('files on their way in are told by the names that writers give them: a UUID, and one with a step behind it', async () => {
  const incoming = store.incoming!;
  const [put, ofEngine] = [randomUUID(), `${randomUUID()}-1400`];
  for (const name of [put, ofEngine, 'thesis.txt']) await writeFile(join(folder, 'incoming', name), 'half');
  const found = [];
  for await (const file of incoming.list()) found.push(file);
  expect(found.map(({ name, bytes, isInUse }) => [name, bytes, isInUse])).toEqual([put, ofEngine].sort().map((name) => [name, 4, false]));
  for (const { name } of found) expect(await incoming.remove(name)).toBe(true);
  expect(await incoming.remove('thesis.txt')).toBe(false); // not ours: left alone
  expect(await readdir(join(folder, 'incoming'))).toEqual(['thesis.txt']);
});

test('files of a path that is in use are told so; its end takes what was not taken over, and nothing else', async () => {
  const incoming = store.incoming!;
  const [path, other] = [incoming.newPath(), incoming.newPath()];
  const names = [`${path}-8`, `${path}-16`, `${other}-8`];
  for (const name of names) await writeFile(name, text(name));
  for await (const { isInUse } of incoming.list()) expect(isInUse).toBe(true);
  await store.adopt!(`${path}-8`, digestOf(text(`${path}-8`)));
  await incoming.end(path);
  expect(await readdir(join(folder, 'incoming'))).toEqual([basename(`${other}-8`)]);
  expect(await store.verify(digestOf(text(`${path}-8`)))).toBe('ok');
});

test('what is set aside is not listed, can be read as before, and comes back when it is needed', async () => {
  const { digest, bytes } = await store.put(text('a state that no event names'));
  await utimes(store.pathOf!(digest), 0, 0);
  expect(await store.quarantine.take(digestOf(text('no such')))).toBe(false);
  expect(await store.quarantine.take(digest)).toBe(true);
  const [listed, aside] = [[] as string[], [] as ArtifactEntry[]];
  for await (const entry of store.list()) listed.push(entry.digest);
  for await (const entry of store.quarantine.list()) aside.push(entry);
  expect(listed).toEqual([]);
  expect(aside).toMatchObject([{ digest, bytes }]);
  expect(aside[0]!.storedAt.getTime()).toBeGreaterThan(0); // when it was set aside, not when it was made
  expect(Buffer.from(await store.get(digest)).toString()).toBe('a state that no event names');
  expect(await store.stat(digest)).toMatchObject({ bytes });
  expect(await store.quarantine.giveBack(digest)).toBe(true);
  for await (const entry of store.list()) listed.push(entry.digest);
  expect(listed).toEqual([digest]);
  expect(await store.quarantine.giveBack(digest)).toBe(false);
  await store.quarantine.take(digest);
  expect(await store.quarantine.remove(digest)).toBe(true);
  expect(await store.quarantine.remove(digest)).toBe(false);
  expect(await store.stat(digest)).toBeNull();
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
  expect(toArtifactError(Object.assign(new Error(errno), { code: errno }), 'write', null).code).toBe(code);
});

test('what is no artifact is listed apart, and disturbs no list', async () => {
  const { digest } = await store.put(text('mine'));
  await writeFile(join(folder, 'objects', 'notes.txt'), 'yours');
  await writeFile(join(folder, 'objects', digest.slice(0, 2), 'draft'), 'yours too');
  const listed: string[] = [];
  for await (const entry of store.list()) listed.push(entry.digest);
  expect(listed).toEqual([digest]);
  const strangers: string[] = [];
  for await (const path of store.strangers!()) strangers.push(path);
  const expected = [join(folder, 'objects', digest.slice(0, 2), 'draft'), join(folder, 'objects', 'notes.txt')];
  expect(strangers.sort()).toEqual(expected.sort());
});
