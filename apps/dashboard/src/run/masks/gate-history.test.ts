import { gateHistory, gateRows, gatesOf, historyWords } from './gate-history.js';

const steps = [0, 10, 20, 29, 30];
const changes = [
  { step: 30n, closed: [5], opened: [2] },
  { step: 10n, closed: [2, 3], opened: [] },
  { step: 20n, closed: [], opened: [3] },
];

describe('when the gates of a layer closed', () => {
  test('each has its changes in the order of the steps', () => {
    expect(gateHistory(changes, steps).get(2)).toEqual([
      { after: 0, by: 10, isOpen: false },
      { after: 29, by: 30, isOpen: true },
    ]);
    expect(gateHistory(changes, steps).get(0)).toBeUndefined();
  });

  test('in words, as the steps between which it happened, and not too many of them', () => {
    expect(historyWords(gateHistory(changes, steps).get(3)!)).toBe('closed after step 0, by 10; opened after 10, by 20');
    expect(historyWords(gateHistory(changes, steps).get(5)!)).toBe('closed at step 30'); // the states of 29 and 30 are both recorded
    const many = Array.from({ length: 9 }, (_, step) => ({ after: step, by: step + 5, isOpen: step % 2 === 1 }));
    expect(historyWords(many, 2)).toBe('closed after step 0, by 5; opened after 1, by 6; and 7 more changes');
    expect(historyWords([])).toBe('');
  });

  test('as rows: the one that closed first comes first, and how it stands is that of the step', () => {
    const rows = (step: number) =>
      gateRows({ size: 7, changes, closedAtFirst: new Set([6]) }, steps, step).map(({ gate, isOpen }) => [gate, isOpen]);
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
