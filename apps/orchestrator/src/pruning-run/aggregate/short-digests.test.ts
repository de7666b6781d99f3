import { digestStartingWith, requireDigestPrefix } from './short-digests.js';

const digests = ['ab12'.padEnd(64, '0'), 'ab12'.padEnd(64, '1'), 'cd34'.padEnd(64, '0')];

test('a digest is found by any beginning that no other has', () => {
  expect(digestStartingWith('cd34', digests, 'digest')).toBe(digests[2]);
  expect(digestStartingWith(digests[0]!, digests, 'digest')).toBe(digests[0]);
  expect(digestStartingWith('cd34', [...digests, digests[2]!], 'digest')).toBe(digests[2]); // two equal digests are one
  expect(digestStartingWith('ef56', digests, 'digest')).toBeUndefined();
  expect(() => digestStartingWith('ab12', digests, 'digest')).toThrow(
    expect.objectContaining({
      code: 'DIGEST_AMBIGUOUS',
      message: `digest: ab12 is the beginning of several: ${digests[0]}, ${digests[1]}`,
    }),
  );
});

test('what cannot be a digest is refused with what is allowed', () => {
  expect(requireDigestPrefix('ab12', 'digest')).toBe('ab12');
  for (const text of ['ab1', 'AB12', 'xyzw', '', 'a'.repeat(65)])
    expect(() => requireDigestPrefix(text, 'digest')).toThrow(expect.objectContaining({ code: 'FIELD_OUT_OF_RANGE', field: 'digest' }));
});
