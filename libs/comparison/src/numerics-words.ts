// Says in words in which parts two fingerprints of numerics differ. The engine writes a fingerprint as one text
// (core/training/fingerprint.cpp).

type Part = readonly [words: string, pattern: RegExp];
const BUILD: Part = ['build of the engine', /; sources ([0-9a-f]+)/];
const DEVICE: Part = ['device', /^[^;]*;[^;]*; (\S+)/];
const KERNELS: Part = ['kernels', /; cpu (?:[0-9a-f]{12} )?(\S+) threads/];
const THREADS: Part = ['threads', /\bthreads (\d+)/];
const CARD: Part = ['card', /; cuda (?:[0-9a-f]{12} )?([^;,]+ multiprocessors)/];
const TYPE: Part = ['type of numbers', /; (f32|bf16)$/];
const COMPILER: Part = ['compiler', /; sources [0-9a-f]+, ([^;]+)/];
const KERNEL_BUILD: Part = ['build of the kernels', /^[^;]*;[^;]*; \S+ ([0-9a-f]{12})\b/];
const BUILD_PARTS: readonly Part[] = [BUILD, COMPILER, KERNEL_BUILD];
/** The parts that any fingerprint has, and those that tell apart fingerprints of one device. */
const ANY: readonly Part[] = [BUILD, COMPILER, DEVICE, ['C library', /; libc ([^;]+)/], TYPE];
const DEVICE_PARTS: readonly Part[] = [
  KERNEL_BUILD,
  KERNELS,
  THREADS,
  CARD,
  ['code for the card', /multiprocessors, ([^;,]+)/],
  ['TF32 override', /TF32 override (\S+?)[,;]/],
  ['matrix products', /\b((?:own products|cuBLASLt)[^;]*);/],
];

const valueOf = ([, pattern]: Part, fingerprint: string): string | undefined => pattern.exec(fingerprint)?.[1];

/** Returns a fingerprint in short: "build 02f3d1e7032e, avx512_amx, threads 2, bf16". One without known parts is returned as it is. */
export function numericsWords(fingerprint: string): string {
  const named = ([words, part]: readonly [string, Part]): string[] => {
    const value = valueOf(part, fingerprint);
    return value === undefined ? [] : [`${words}${value}`];
  };
  const told = (
    [
      ['build ', BUILD],
      ['', KERNELS],
      ['threads ', THREADS],
      ['', CARD],
      ['', TYPE],
    ] as const
  ).flatMap(named);
  return told.length > 0 ? told.join(', ') : fingerprint;
}

/**
 * Returns "build of the engine (02f3d1e7032e before, cf786225386e now), threads (1 before, 2 now)". Where devices differ, the parts of a
 * single device are left out. Unknown parts are shown as they stand in the fingerprints.
 */
export function numericsDifference(before: string, now: string): string {
  const isOneDevice = valueOf(DEVICE, before) === valueOf(DEVICE, now);
  const told = [...ANY, ...(isOneDevice ? DEVICE_PARTS : [])].flatMap((part) => {
    const [was, is] = [before, now].map((fingerprint) => valueOf(part, fingerprint) ?? 'none');
    return was === is ? [] : [`${part[0]} (${was} before, ${is} now)`];
  });
  return told.length > 0 ? told.join(', ') : `fingerprint (${onlyIn(before, now)} before, ${onlyIn(now, before)} now)`;
}

/**
 * Returns how an engine gets those parts of the earlier numerics that a user chooses: ["ESPALIER_CPU_ISA=avx2", "--threads 2"]. It returns
 * nothing where the builds differ, since no choice makes up for that.
 */
export function choicesOfNumerics(before: string, now: string): string[] {
  if (BUILD_PARTS.some((part) => valueOf(part, before) !== valueOf(part, now))) return [];
  const chosen = ([how, part]: readonly [string, Part]): string[] => {
    const [was, is] = [before, now].map((fingerprint) => valueOf(part, fingerprint));
    return was === undefined || is === undefined || was === is ? [] : [`${how}${was}`];
  };
  return (
    [
      ['ESPALIER_CPU_ISA=', KERNELS],
      ['--threads ', THREADS],
    ] as const
  ).flatMap(chosen);
}

/** The device of a fingerprint, "cpu" or "cuda", and its threads, which a card has not. Undefined where the text has no such part. */
export function chosenNumerics(fingerprint: string): { device: string | undefined; threads: number | undefined } {
  const threads = valueOf(THREADS, fingerprint);
  return { device: valueOf(DEVICE, fingerprint), threads: threads === undefined ? undefined : Number(threads) };
}

function onlyIn(one: string, other: string): string {
  const parts = (fingerprint: string): string[] => fingerprint.split(/[;,] /);
  return parts(one)
    .filter((part) => !parts(other).includes(part))
    .join(', ');
}
