// Says in words in which parts two fingerprints of numerics differ. The engine writes a fingerprint as one text
// (core/training/fingerprint.cpp).

/** The parts of a fingerprint, each with the words for it. A fingerprint has the parts of its device only. */
const PARTS: readonly (readonly [words: string, pattern: RegExp])[] = [
  ['build of the engine', /; sources ([0-9a-f]+)/],
  ['compiler', /; sources [0-9a-f]+, ([^;]+)/],
  ['device', /^[^;]*;[^;]*; (\S+)/],
  ['build of the kernels', /^[^;]*;[^;]*; \S+ ([0-9a-f]{12})\b/],
  ['kernels', /; cpu (?:[0-9a-f]{12} )?(\S+) threads/],
  ['threads', /\bthreads (\d+)/],
  ['card', /; cuda (?:[0-9a-f]{12} )?([^;,]+ multiprocessors)/],
  ['code for the card', /multiprocessors, ([^;,]+)/],
  ['TF32 override', /TF32 override (\S+?)[,;]/],
  ['matrix products', /\b((?:own products|cuBLASLt)[^;]*?)(?:, caches|;)/],
  ['caches of the processor', /, caches ([^;]+)/],
  ['C library', /; libc ([^;]+)/],
  ['type of numbers', /; (f32|bf16)$/],
];

/**
 * Returns "build of the engine (02f3d1e7032e before, cf786225386e now), threads (1 before, 2 now)". Parts that are not known are told as
 * the fingerprints have them.
 */
export function numericsDifference(before: string, now: string): string {
  const told = PARTS.flatMap(([words, pattern]) => {
    const [was, is] = [before, now].map((fingerprint) => pattern.exec(fingerprint)?.[1] ?? 'none');
    return was === is ? [] : [`${words} (${was} before, ${is} now)`];
  });
  return told.length > 0 ? told.join(', ') : `fingerprint (${onlyIn(before, now)} before, ${onlyIn(now, before)} now)`;
}

function onlyIn(one: string, other: string): string {
  const parts = (fingerprint: string): string[] => fingerprint.split(/[;,] /);
  return parts(one)
    .filter((part) => !parts(other).includes(part))
    .join(', ');
}
