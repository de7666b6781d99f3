import { otherRelease, releaseOf } from './index.js';

const OWN = '0.2.0 1400 abc';

test.each([
  ['the same', '0.2.0 1400 abc', null],
  ['one with other defaults', '0.2.0 1400 abd', 'unlike'],
  ['one that does not tell its defaults', '0.2.0 1400', 'earlier'],
  ['one that tells nothing', undefined, 'earlier'],
  ['an earlier version, with a larger API', '0.1.9 1500', 'earlier'],
  ['a later version', '0.10.0 1400', 'later'],
  ['one version with less in its API', '0.2.0 1399', 'earlier'],
  ['one version with more in its API', '0.2.0 1401', 'later'],
  ['a candidate of the same version', '0.2.0-rc.1 1400 abc', null],
  ['a later one that tells more', '0.3.0 1400 abc more', 'later'],
  ['a later one with other defaults', '0.2.1 1400 abd', 'later'],
  ['a later one that tells it otherwise', 'summer', 'later'],
] as const)('%s is told apart', (_, told, other) => {
  expect(otherRelease(told, OWN)).toBe(other);
});

test('a release is the version, the size of the public API and a digest of the defaults', () => {
  expect(releaseOf('1.2.3')).toMatch(/^1\.2\.3 \d{4} [0-9a-f]{8}$/);
});
