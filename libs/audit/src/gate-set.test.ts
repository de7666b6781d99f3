import { allGates, decodeGates, encodeGates, gatesApart, gatesIn, type Gates } from './gate-set.js';

const setOf = (count: number, ...gates: number[]): Gates => {
  const set = gatesApart(allGates(count), allGates(count));
  for (const gate of gates) set[gate >> 3]! |= 1 << (gate & 7);
  return set;
};

describe('a set of gates', () => {
  it.each([
    ['none', setOf(1000), 0],
    ['the first and the last', setOf(357_376, 0, 357_375), 8],
    ['a few', setOf(1000, 1, 2, 3, 130, 999), 12],
    ['all', allGates(1001), 172],
    ['every other one', setOf(800, ...Array.from({ length: 400 }, (_, index) => 2 * index)), 136],
  ])('of %s is told shortly and read back', (_, gates, longest) => {
    const text = encodeGates(gates);
    expect(text.length).toBeLessThanOrEqual(longest);
    expect(decodeGates(text, gates.length === 44_672 ? 357_376 : gates.length === 126 ? 1001 : gates.length * 8)).toEqual(gates);
  });
  it('is told in the order of the gates', () => {
    expect([...gatesIn(setOf(70, 0, 7, 8, 31, 32, 69))]).toEqual([0, 7, 8, 31, 32, 69]);
  });
  it.each([
    ['a gate that the model has not', encodeGates(setOf(1000, 999)), 999],
    ['bits of another model', encodeGates(allGates(100)), 200],
    ['bits beyond the last gate', encodeGates(allGates(104)), 101],
    ['a kind that no release writes', Buffer.from([7, 1]).toString('base64'), 100],
    ['a gap that does not end', Buffer.from([0, 0x80]).toString('base64'), 100],
    ['a gap without end', Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).toString('base64'), 100],
  ])('is not read from %s', (_, text, count) => {
    expect(decodeGates(text, count)).toBeNull();
  });
});
