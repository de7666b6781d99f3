import { gateHistory, gateRows, gatesOf, historyWords } from './gate-history.js';

const changes = [
  { step: 30n, closed: [5], opened: [2] },
  { step: 10n, closed: [2, 3], opened: [] },
  { step: 20n, closed: [], opened: [3] },
];

describe('when the gates of a layer closed', () => {
  test('each has its changes in the order of the steps', () => {
    expect(gateHistory(changes).get(2)).toEqual([
      { step: 10, isOpen: false },
      { step: 30, isOpen: true },
    ]);
    expect(gateHistory(changes).get(0)).toBeUndefined();
  });

  test('in words, not too many of them', () => {
    expect(historyWords(gateHistory(changes).get(3)!)).toBe('closed at step 10, opened at 20');
    const many = Array.from({ length: 9 }, (_, step) => ({ step, isOpen: step % 2 === 1 }));
    expect(historyWords(many, 2)).toBe('closed at step 0, opened at 1, and 7 more changes');
    expect(historyWords([])).toBe('');
  });

  test('as rows: the one that closed first comes first, and how it stands is that of the step', () => {
    const rows = (step: number) =>
      gateRows({ size: 7, changes, closedAtFirst: new Set([6]) }, step).map(({ gate, isOpen }) => [gate, isOpen]);
    expect(rows(15)).toEqual([
      [6, false],
      [2, false],
      [3, false],
      [5, true],
    ]);
    expect(rows(30)).toEqual([
      [6, false],
      [2, true],
      [3, true],
      [5, false],
    ]);
  });

  test('a cell stands for its gates, and every gate has a cell', () => {
    expect(gatesOf(0, 3, 8)).toEqual([0, 3]);
    expect(gatesOf(2, 3, 8)).toEqual([6, 8]);
    expect(gatesOf(4, 8, 8)).toEqual([4, 5]);
  });
});
