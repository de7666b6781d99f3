// Reports of the engine: the key/value heads that are left.
import { kvHeadsOpen } from './segment-report.js';

test('a key/value head is left where an open head reads it', () => {
  // Two layers of 4 heads, which read 2 key/value heads: heads 0 and 1, then 6 alone are open.
  expect(
    kvHeadsOpen(
      [
        { heads: 4, units: 1 },
        { heads: 4, units: 1 },
      ],
      2,
      Uint8Array.of(0b0100_0011),
    ),
  ).toEqual([1, 1]);
  expect(
    kvHeadsOpen(
      [
        { heads: 4, units: 1 },
        { heads: 4, units: 1 },
      ],
      2,
      Uint8Array.of(0b0000_1001),
    ),
  ).toEqual([2, 0]);
});
