import { isDamagedName } from './store-binding.js';

const name = '8f14e45f-ceea-467f-a1b2-0123456789ab';

test.each([
  ['a flipped bit', '8f14e45f-ceea-467f-a1b2-0123456789ac', true],
  ['a missing end', '8f14e45f-ceea-467f-a1b2-01234567', true],
  ['no damage', name, false],
  ['the name of another store', '1679091c-5a88-4faf-9b73-fedcba987654', false],
])('%s', (_, read, isDamaged) => {
  expect(isDamagedName(read, name)).toBe(isDamaged);
});
