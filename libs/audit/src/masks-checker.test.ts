import { allGates, encodeGates, gatesApart, gatesDigest, type Gates } from './gate-set.js';
import { MasksChecker } from './masks-checker.js';

const GATES = 100;
const closed = (...gates: number[]): Gates => {
  const open = allGates(GATES);
  for (const gate of gates) open[gate >> 3]! &= ~(1 << (gate & 7));
  return open;
};
const segment = (firstStep: number, openDigest: string) => ({
  revision: firstStep,
  firstStep,
  endStep: firstStep + 10,
  metricsRevision: firstStep,
  metricsDigest: '',
  openDigest,
});
const changed = (before: Gates, after: Gates): string => encodeGates(gatesApart(before, after));

describe('the masks of a run', () => {
  const first = { closedBefore: '', changed: changed(closed(), closed(3, 50)) };
  const second = { changed: changed(closed(3, 50), closed(3, 99)) };

  it('come to the digests that its segments were recorded with', () => {
    const checker = new MasksChecker(GATES);
    expect(checker.problem(segment(0, gatesDigest(closed(3, 50))), first)).toBeNull();
    expect(checker.problem(segment(10, gatesDigest(closed(3, 99))), second)).toBeNull();
  });
  it('may begin again, as after a rewind', () => {
    const checker = new MasksChecker(GATES);
    checker.problem(segment(0, gatesDigest(closed(3, 50))), first);
    const again = { closedBefore: encodeGates(gatesApart(allGates(GATES), closed(3))), changed: changed(closed(3), closed(3, 4)) };
    expect(checker.problem(segment(5, gatesDigest(closed(3, 4))), again)).toBeNull();
  });
  it('are found out when one gate is another', () => {
    const checker = new MasksChecker(GATES);
    expect(checker.problem(segment(0, gatesDigest(closed(3, 51))), first)).toMatch(/have digest [0-9a-f]{64}, the run recorded/);
  });
  it('are found out when they go on from nothing, or name what is not there', () => {
    const digest = gatesDigest(closed(3, 99));
    expect(new MasksChecker(GATES).problem(segment(10, digest), second)).toContain('not from what');
    expect(new MasksChecker(GATES).problem(segment(0, digest), { closedBefore: '', changed: 'AP8=' })).toContain('does not have');
  });
});
