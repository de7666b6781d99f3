import { otherRelease, releaseOf, requireRelease } from './index.js';

const OWN = '0.2.0 abc';

test.each([
  ['the same', '0.2.0 abc', null],
  ['another build of the version', '0.2.0 abd', 'unlike'],
  ['a candidate of the version', '0.2.0-rc.1 abc', 'unlike'],
  ['an earlier version', '0.1.9 abc', 'earlier'],
  ['a later version', '0.10.0 abc', 'later'],
  ['a later one that tells more', '0.3.0 abc more', 'later'],
  ['a later one that tells it otherwise', 'summer', 'later'],
] as const)('%s is told apart', (_, told, other) => {
  expect(otherRelease(told, OWN)).toBe(other);
});

test('a release is the version and a digest of the protocol', () => {
  expect(releaseOf('1.2.3')).toMatch(/^1\.2\.3 [0-9a-f]{8}$/);
});

test('an engine is refused by name unless it is of the release of the server', () => {
  expect(() => requireRelease('engine a', OWN, OWN)).not.toThrow();
  expect(() => requireRelease('engine a', '0.1.9 abc', OWN)).toThrow(
    expect.objectContaining({
      code: 'ENGINE_OF_OTHER_RELEASE',
      message: "engine a is of release 0.1.9 abc, and the server is of release 0.2.0 abc: install the server's there",
    }),
  );
  expect(() => requireRelease('engine a', '', OWN)).toThrow(expect.objectContaining({ code: 'ENGINE_OF_OTHER_RELEASE' }));
});
