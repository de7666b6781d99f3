// Tests how the engine's reports turn into the key/value heads that are left.
import { kvHeadsOpen } from './segment-report.js';

test('a key/value head is left where an open head reads it', () => {
  // Two layers of 4 heads, which read 2 key/value heads. Heads 0 and 1 of the first layer are open, and head 2 of the second.
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
