import type { EspalierError } from '#protocol';
import { EngineLease } from './engine-lease.js';

let now: number;
let lease: EngineLease;
beforeEach(() => {
  now = 0;
  lease = new EngineLease(() => now);
});

function claim(by: string, { folder = `folder of ${by}`, afterFormerLife = false } = {}): boolean {
  const holder = { claim: by, folderId: folder, slot: '127.0.0.1:9000', host: `host of ${by}`, pid: 7 };
  return lease.claim({ holder, leaseMs: 15_000, afterFormerLife });
}
const elsewhere = expect.objectContaining({ code: 'ENGINE_ATTACHED_ELSEWHERE' }) as EspalierError;

test('every client that reaches an unclaimed engine may use it, but not by a claim that is gone', () => {
  expect(() => lease.require('')).not.toThrow();
  expect(() => lease.require('earlier')).toThrow(elsewhere);
});

test('a claimed engine is its holder’s alone, and says whose, but not the claim', () => {
  claim('a');
  expect(() => lease.require('a')).not.toThrow();
  expect(() => lease.require('b')).toThrow(elsewhere);
  expect(() => lease.require('')).toThrow(elsewhere);
  expect(() => claim('b')).toThrow(expect.objectContaining({ code: 'ENGINE_ATTACHED_ELSEWHERE' }));
  expect(lease.holder).toMatchObject({ host: 'host of a', claim: '' });
});

test('a renewed lease goes on, one that runs out gives the engine to the next who asks', () => {
  claim('a');
  now = 14_000;
  expect(claim('a')).toBe(false);
  now = 28_000;
  expect(() => claim('b')).toThrow(elsewhere);
  now = 29_000;
  expect(lease.leftMs).toBe(0);
  expect(claim('b')).toBe(true);
  expect(() => lease.require('a')).toThrow(elsewhere);
});

test('a holder whose lease ran out gets the engine back, as long as no other client has taken it', () => {
  claim('a');
  now = 60_000;
  expect(() => lease.require('a')).not.toThrow();
  expect(claim('a')).toBe(false);
  expect(() => claim('b')).toThrow(elsewhere);
});

test('a holder that was killed gets it back at once in its next life, in the same data folder only', () => {
  claim('a', { folder: 'f' });
  expect(() => claim('a2', { folder: 'f' })).toThrow(elsewhere);
  expect(() => claim('b', { folder: 'g', afterFormerLife: true })).toThrow(elsewhere);
  expect(claim('a2', { folder: 'f', afterFormerLife: true })).toBe(true);
  expect(() => lease.require('a')).toThrow(elsewhere);
});

test('what is given back is free at once; a former holder can’t give it back any more', () => {
  claim('a');
  expect(lease.release('b')).toBe(false);
  expect(lease.release('a')).toBe(true);
  expect(claim('b')).toBe(false);
  expect(lease.release('a')).toBe(false);
  expect(() => lease.require('b')).not.toThrow();
});

test.each([
  [undefined, 1_000, 'holder.claim'],
  [{ claim: 'a', folderId: '', slot: '', host: '', pid: 1 }, 0, 'lease_ms'],
])('a claim without what it needs is refused', (holder, leaseMs, field) => {
  expect(() => lease.claim({ holder, leaseMs, afterFormerLife: false })).toThrow(expect.objectContaining({ field }) as EspalierError);
});

test.each([
  ['two thirds of its lease', 15_000, 10_000],
  ['no less than five seconds', 3_000, 5_000],
])('a client that holds a lease may be silent for %s', (_, leaseMs, silenceMs) => {
  let nowMs = 0;
  const lease = new EngineLease(() => nowMs);
  expect(lease.silenceMs).toBeNull();
  lease.claim({ holder: { claim: 'a', folderId: 'f', slot: 's', host: 'h', pid: 1 }, leaseMs, afterFormerLife: false });
  expect(lease.silenceMs).toBe(silenceMs);
  nowMs = leaseMs;
  expect(lease.silenceMs).toBeNull();
});
