import { gateColumns, statesAround } from './gate-columns.js';

const steps = [0, 10, 29, 250];

describe('the states of a layer on an axis of steps', () => {
  test('lie where their steps are, so that the middle of the picture is the middle of the run', () => {
    expect(statesAround(0.5, steps)).toEqual({ before: 2, by: 3 });
    expect(statesAround(29 / 250, steps)).toEqual({ before: 2, by: 2 });
    expect(statesAround(0, steps)).toEqual({ before: 0, by: 0 });
    expect(statesAround(2, steps)).toEqual({ before: 3, by: 3 });
    expect(statesAround(0.5, [7])).toEqual({ before: 0, by: 0 });
  });

  test('a gate that closed between two states is neither open nor closed there', () => {
    const open = Uint8Array.from([255, 255, /* at 10 */ 255, 0, /* at 29 */ 255, 0, /* at 250 */ 0, 0]);
    const { shares, columns } = gateColumns(open, 2, steps);
    expect(columns).toBe(250);
    const row = (group: number, step: number): number => shares[group * columns + step]!;
    expect([row(0, 5), row(0, 28), row(0, 29), row(0, 249)]).toEqual([255, 255, 127, 127]);
    expect([row(1, 5), row(1, 10), row(1, 249)]).toEqual([127, 0, 0]);
  });

  test('a single state fills the picture', () => {
    expect(gateColumns(Uint8Array.from([255, 0]), 2, [4])).toEqual({ shares: Uint8Array.from([255, 0]), columns: 1 });
  });
});
