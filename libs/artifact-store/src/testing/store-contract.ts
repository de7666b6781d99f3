// Tests that every artifact store must pass, wherever it keeps the bytes.
import { utimes, writeFile } from 'node:fs/promises';
import { digestOfSlices } from '#files';
import type { ArtifactEntry, ArtifactStore } from '../artifact-store.js';
import { digestOf } from '../digest.js';
import { encodeExportManifest } from '../export-manifest.js';

export interface StoreUnderTest {
  store: ArtifactStore;
  /** Replaces the bytes of an artifact. */
  damage(digest: string, bytes: Uint8Array): Promise<void>;
}

const text = (value: string) => Buffer.from(value, 'utf8');
async function* pieces(...values: Uint8Array[]) {
  yield* values;
}
async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** @param current returns the store of the test that is running */
export function describesAnArtifactStore(current: () => StoreUnderTest): void {
  const store = (): ArtifactStore => current().store;
  const incomingNames = async () => (await all(store().incoming.list())).map(({ name }) => name);
  const digests = async () => (await all(store().list())).map(({ digest }) => digest);

  test('bytes come back under their digest, whole and from an offset', async () => {
    const put = await store().put(pieces(text('one '), text('two')));
    expect(put).toEqual({ digest: digestOf(text('one two')), bytes: 7 });
    expect(Buffer.from(await store().get(put.digest)).toString()).toBe('one two');
    expect(Buffer.concat(await all(store().open(put.digest, 4))).toString()).toBe('two');
    expect(await all(store().open(put.digest, 7))).toEqual([]);
    expect((await all(store().open(put.digest, 0, 3))).map(String)).toEqual(['one', ' tw', 'o'].map((part) => String(text(part))));
    expect(await incomingNames()).toEqual([]);
  });

  test('an empty artifact and one larger than a chunk', async () => {
    const empty = await store().put(new Uint8Array());
    expect((await store().get(empty.digest)).byteLength).toBe(0);
    expect(await store().stat(empty.digest)).toMatchObject({ bytes: 0 });
    const large = Buffer.alloc(3_000_001, 7);
    const put = await store().put(large);
    expect(put.digest).toBe(digestOf(large));
    expect(Buffer.compare(Buffer.from(await store().get(put.digest)), large)).toBe(0);
  });

  test('an artifact in slices is one artifact: read, set aside, given back and deleted as a whole', async () => {
    const content = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index % 251));
    const cut = [content.subarray(0, 4_096), content.subarray(4_096, 8_192), content.subarray(8_192)];
    const slices = cut.map((piece) => ({ digest: digestOf(piece), bytes: piece.byteLength }));
    const digest = digestOfSlices(slices);
    const put = () => store().put(pieces(content.subarray(0, 5_000), content.subarray(5_000)), { expectedDigest: digest, slices });
    expect(await put()).toEqual({ digest, bytes: 10_000 });
    await put(); // the one that is there is replaced
    expect(await store().slicesOf(digest)).toEqual(slices);
    expect(await store().stat(digest)).toMatchObject({ bytes: 10_000, mediaType: 'application/x-safetensors' });
    expect(Buffer.from(await store().get(digest)).equals(content)).toBe(true);
    expect(Buffer.concat(await all(store().open(digest, 4_000))).equals(content.subarray(4_000))).toBe(true);
    expect(Buffer.from(await store().range(digest, 4_000, 5_000)).equals(content.subarray(4_000, 9_000))).toBe(true);
    expect(Buffer.concat(await all(store().openSlice(digest, slices[1]!.digest))).equals(cut[1]!)).toBe(true);
    const [listed] = await all(store().list());
    expect(listed!.digest).toBe(digest);
    expect(listed!.bytes).toBeGreaterThanOrEqual(10_000);
    expect(await store().verify(digest)).toBe('ok');
    expect(await store().quarantine.moveIn(digest)).toBe(true);
    expect(Buffer.from(await store().get(digest)).equals(content)).toBe(true);
    expect(await digests()).toEqual([]);
    expect((await all(store().quarantine.list()))[0]!.bytes).toBeGreaterThanOrEqual(10_000);
    expect(await store().quarantine.giveBack(digest)).toBe(true);
    expect(await digests()).toEqual([digest]);
    const wrong = store().put(pieces(content.subarray(1), content.subarray(0, 1)), { expectedDigest: digest, slices });
    await expect(wrong).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
    expect(await store().verify(digest)).toBe('ok');
    expect(await incomingNames()).toEqual([]);
    expect(await store().delete(digest)).toBe(true);
    expect([await store().stat(digest), await digests(), await all(store().unknownFiles())]).toEqual([null, [], []]);
  });

  test('every flipped byte is found by verify, get and open', async () => {
    const original = text('a small state');
    const { digest } = await store().put(original);
    for (let index = 0; index < original.byteLength; index++) {
      const damaged = Buffer.from(original);
      damaged[index]! ^= 1;
      await current().damage(digest, damaged);
      expect(await store().verify(digest)).toBe('corrupt');
      await expect(store().get(digest)).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT', digest });
    }
    await current().damage(digest, original.subarray(0, 3));
    expect(await store().verify(digest)).toBe('corrupt');
    await store().put(original); // storing the artifact again repairs it
    expect(await store().verify(digest)).toBe('ok');
    expect(Buffer.from(await store().get(digest)).toString()).toBe('a small state');
  });

  test('a file that another process wrote is taken over, in the place of a damaged one too', async () => {
    const bytes = text('written by the engine');
    const digest = digestOf(bytes);
    for (let round = 0; round < 2; round++) {
      const incoming = store().incoming.newPath();
      await writeFile(incoming, bytes, { flag: 'wx' });
      await store().adopt(incoming, digest);
      expect(await store().verify(digest)).toBe('ok');
      expect(await incomingNames()).toEqual([]);
      await current().damage(digest, bytes.subarray(0, 2));
    }
    await expect(store().adopt('/elsewhere', digest)).rejects.toThrow('is not in the incoming folder');
    await expect(store().adopt(store().incoming.newPath(), digest)).rejects.toMatchObject({ code: 'ARTIFACT_STORE_UNAVAILABLE' });
  });

  test('a part is read alone, and is shorter where the artifact ends', async () => {
    const { digest } = await store().put(text('a small state'));
    const part = async (offset: number, bytes: number): Promise<string> =>
      Buffer.from(await store().range(digest, offset, bytes)).toString();
    expect(await part(2, 5)).toBe('small');
    expect(await part(8, 100)).toBe('state');
  });

  test('what is missing says so', async () => {
    const digest = digestOf(text('never stored'));
    await expect(store().range(digest, 0, 1)).rejects.toMatchObject({ code: 'ARTIFACT_MISSING' });
    expect(await store().stat(digest)).toBeNull();
    expect(await store().verify(digest)).toBe('missing');
    expect(await store().delete(digest)).toBe(false);
    await expect(store().get(digest)).rejects.toMatchObject({ code: 'ARTIFACT_MISSING', digest });
    await expect(store().get('../../etc/passwd')).rejects.toMatchObject({ code: 'ARTIFACT_DIGEST_INVALID' });
  });

  test('what is deleted is gone', async () => {
    const { digest } = await store().put(text('to be deleted'));
    expect(await store().delete(digest)).toBe(true);
    expect(await store().stat(digest)).toBeNull();
    await expect(store().get(digest)).rejects.toMatchObject({ code: 'ARTIFACT_MISSING' });
    expect(await digests()).toEqual([]);
  });

  test('another digest than announced, and a source that fails, leave nothing behind', async () => {
    const announced = digestOf(text('right'));
    await expect(store().put(text('wrong'), { expectedDigest: announced })).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' });
    async function* failing() {
      yield text('half');
      throw new Error('the source broke');
    }
    await expect(store().put(failing())).rejects.toThrow('the source broke');
    expect(await incomingNames()).toEqual([]);
    expect(await digests()).toEqual([]);
  });

  test("a source's error of a system call is told as it is, not as one of the store's disk", async () => {
    const broken = Object.assign(new Error('write EPIPE'), { code: 'EPIPE', syscall: 'write' });
    const failing = async function* () {
      yield text('some');
      throw broken;
    };
    await expect(store().put(failing())).rejects.toBe(broken);
    expect(await incomingNames()).toEqual([]);
  });

  test('a digest is told before the bytes are under it, and the store waits for the answer', async () => {
    const digest = digestOf(text('about to be named'));
    const found: unknown[] = [];
    const put = await store().put(text('about to be named'), {
      beforeNamed: async (told) => {
        found.push(told, await store().stat(told));
      },
    });
    expect(found).toEqual([digest, null]);
    expect(await store().verify(put.digest)).toBe('ok');
  });

  test('list and stat: size and a type told from the bytes', async () => {
    const header = text('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}');
    const lead = Buffer.alloc(8);
    lead.writeBigUInt64LE(BigInt(header.byteLength));
    const tensors = await store().put(Buffer.concat([lead, header, Buffer.alloc(4)]));
    const files = [{ name: 'model.safetensors', bytes: tensors.bytes, digest: tensors.digest }];
    const manifest = await store().put(encodeExportManifest(files));
    const ids = await store().put(Buffer.from(Uint32Array.from([1, 123, 2]).buffer));
    expect((await store().stat(tensors.digest))?.mediaType).toBe('application/x-safetensors');
    expect((await store().stat(manifest.digest))?.mediaType).toBe('application/x-espalier-export-manifest+json');
    expect(await store().stat(ids.digest)).toEqual({ bytes: 12, mediaType: 'application/octet-stream' });
    const listed = await all(store().list());
    expect(listed.map(({ digest }) => digest)).toEqual([tensors.digest, manifest.digest, ids.digest].sort());
    expect(listed.find(({ digest }) => digest === ids.digest)).toMatchObject({ bytes: 12 });
  });

  test('artifacts are found by the beginning of their digest', async () => {
    const { digest } = await store().put(text('found by its beginning'));
    expect(await store().digestsStartingWith(digest.slice(0, 4))).toEqual([digest]);
    expect(await store().digestsStartingWith(`${digest.slice(0, 4)}${digest[4] === '0' ? '1' : '0'}`)).toEqual([]);
    expect(await store().digestsStartingWith(digestOf(text('no such')).slice(0, 8))).toEqual([]);
  });

  test('files of a path that is in use are told so; its end takes what was not taken over, and nothing else', async () => {
    const { incoming } = store();
    const [path, other] = [incoming.newPath(), incoming.newPath()];
    const names = [`${path}-8`, `${path}-16`, `${other}-8`];
    for (const name of names) await writeFile(name, text(name));
    for await (const { isInUse } of incoming.list()) expect(isInUse).toBe(true);
    await store().adopt(`${path}-8`, digestOf(text(`${path}-8`)));
    await incoming.end(path);
    expect(await incomingNames()).toEqual([`${other}-8`.split('/').at(-1)]);
    expect(await store().verify(digestOf(text(`${path}-8`)))).toBe('ok');
  });

  test('what is set aside is not listed, can be read as before, and comes back when it is needed', async () => {
    const { digest, bytes } = await store().put(text('a state that no event names'));
    const file = store().pathOf?.(digest);
    if (file !== undefined) await utimes(file, 0, 0);
    const { quarantine } = store();
    expect(await quarantine.moveIn(digestOf(text('no such')))).toBe(false);
    expect(await quarantine.moveIn(digest)).toBe(true);
    const aside: ArtifactEntry[] = await all(quarantine.list());
    expect(await digests()).toEqual([]);
    expect(aside).toMatchObject([{ digest, bytes }]);
    expect(aside[0]!.storedAt.getTime()).toBeGreaterThan(0); // the time when it was set aside, not when it was made
    expect(Buffer.from(await store().get(digest)).toString()).toBe('a state that no event names');
    expect(await store().stat(digest)).toMatchObject({ bytes });
    expect(await quarantine.giveBack(digest)).toBe(true);
    expect(await digests()).toEqual([digest]);
    expect(await quarantine.giveBack(digest)).toBe(false);
    await quarantine.moveIn(digest);
    expect(await quarantine.remove(digest)).toBe(true);
    expect(await quarantine.remove(digest)).toBe(false);
    expect(await store().stat(digest)).toBeNull();
  });

  test('what was set aside and is made again is an artifact again', async () => {
    const { digest } = await store().put(text('made twice'));
    await store().quarantine.moveIn(digest);
    await store().put(text('made twice'));
    expect(await digests()).toEqual([digest]);
  });

  test('the server that writes first gives the artifacts to its event store; a later one replaces the name only if it may', async () => {
    const { owner } = store();
    expect(await owner.read()).toBeNull();
    await owner.write('one', false);
    await owner.write('another', false);
    expect(await owner.read()).toBe('one');
    await owner.write('another', true);
    expect(await owner.read()).toBe('another');
    expect(await digests()).toEqual([]);
  });
}
