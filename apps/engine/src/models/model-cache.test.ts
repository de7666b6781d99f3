// Each cache in these tests stands for an engine of the machine. The kernel's locks keep them apart as they keep processes apart.
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ModelCache } from './model-cache.js';
import { checkedList, digestOfList, type ListedFile } from './model-list.js';

const MIB = 1 << 20;
const root = mkdtempSync(join(tmpdir(), 'espalier-cache-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
const told: string[] = [];
const log = { info: (_: object, text: string) => void told.push(text), warn: (_: object, text: string) => void told.push(text) } as never;
function twoEngines(limitBytes = 10 * MIB): [ModelCache, ModelCache] {
  folders += 1;
  const folder = join(root, String(folders));
  return [ModelCache.open(folder, limitBytes, log, 0), ModelCache.open(folder, limitBytes, log, 0)];
}

const listOf = (name: string, bytes: number): ListedFile[] => [{ name, bytes, digest: 'ab'.repeat(32) }];
/** A model of one file that has arrived, last used the given number of seconds ago. */
function arrived(cache: ModelCache, name: string, bytes: number, secondsAgo: number): string {
  const list = listOf(name, bytes);
  const digest = digestOfList(list);
  const hold = cache.receive(digest, list)!;
  writeFileSync(join(cache.filesOf(digest), name), Buffer.alloc(bytes));
  const at = Date.now() / 1_000 - secondsAgo;
  utimesSync(join(cache.filesOf(digest), '..', 'model.json'), at, at);
  hold.release();
  return digest;
}
const isHere = (cache: ModelCache, digest: string): boolean => existsSync(cache.filesOf(digest));

test('the model that was used least recently goes first, and no more go than must', () => {
  const [cache] = twoEngines();
  const [old, middle, fresh] = [arrived(cache, 'a', 4 * MIB, 30), arrived(cache, 'b', 3 * MIB, 20), arrived(cache, 'c', 2 * MIB, 10)];
  cache.makeRoom(4 * MIB, 'a model to come');
  expect([old, middle, fresh].map((digest) => isHere(cache, digest))).toEqual([false, true, true]);
  expect(told.at(-1)).toContain('removed from the cache');
});

test('a model that an engine uses stays, and its use makes it the latest', () => {
  const [one, other] = twoEngines();
  const [old, next] = [arrived(one, 'a', 4 * MIB, 30), arrived(one, 'b', 4 * MIB, 20)];
  const use = one.use(old)!;
  const alsoUsed = other.use(old)!; // several engines use it at once
  other.makeRoom(4 * MIB, 'a model to come');
  expect([isHere(one, old), isHere(one, next)]).toEqual([true, false]);
  expect(() => other.makeRoom(8 * MIB, 'a model to come')).toThrow(expect.objectContaining({ code: 'MODEL_CACHE_FULL' }) as Error);
  use.release();
  alsoUsed.release();
  other.makeRoom(8 * MIB, 'a model to come');
  expect(isHere(one, old)).toBe(false);
});

test('one engine receives a model at a time, and none uses it meanwhile', () => {
  const [one, other] = twoEngines();
  const list = listOf('a', 1);
  const digest = digestOfList(list);
  const hold = one.receive(digest, list)!;
  expect(other.receive(digest, list)).toBeNull();
  expect(other.use(digest)).toBeNull();
  hold.release();
  const use = other.use(digest)!;
  expect(one.receive(digest, list)).toBeNull();
  use.release();
});

test('what no cache put there is never removed', () => {
  const [cache] = twoEngines();
  const digest = arrived(cache, 'a', 4 * MIB, 30);
  const foreign = join(cache.filesOf(digest), 'notes');
  writeFileSync(foreign, 'mine');
  expect(() => cache.makeRoom(10 * MIB, 'a model to come')).toThrow(expect.objectContaining({ code: 'MODEL_CACHE_FULL' }) as Error);
  expect(existsSync(foreign)).toBe(true);
  expect(told.at(-1)).toContain('its folder holds other files too');
  const home = join(root, 'home');
  mkdirSync(home);
  writeFileSync(join(home, 'thesis.txt'), '');
  expect(() => ModelCache.open(home, MIB, log)).toThrow(expect.objectContaining({ code: 'MODEL_CACHE_UNUSABLE' }));
});

test('a list names plain files', () => {
  const digest = 'ab'.repeat(32);
  const list = (...names: string[]) => checkedList(names.map((name) => ({ name, bytes: 1n, digest, head: Buffer.alloc(0) })));
  expect(list('config.json', 'model-00001-of-00002.safetensors')).toHaveLength(2);
  for (const name of ['../config.json', '/etc/passwd', '.hidden', 'a/b', '', 'a\0b', 'x'.repeat(300)])
    expect(() => list(name)).toThrow(expect.objectContaining({ code: 'FIELD_OUT_OF_RANGE', field: 'files[0].name' }));
  expect(() => list('a', 'a')).toThrow(expect.objectContaining({ code: 'FIELD_OUT_OF_RANGE', field: 'files[1].name' }));
  expect(() => checkedList([{ name: 'a', bytes: 1n, digest: 'no', head: Buffer.alloc(0) }])).toThrow(
    expect.objectContaining({ code: 'FIELD_OUT_OF_RANGE', field: 'files[0].digest' }),
  );
});
