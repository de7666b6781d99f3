import { choicesOfNumerics, numericsDifference, numericsWords } from './numerics-words.js';

const CPU = 'espalier-numerics 4; sources 02f3d1e7032e, GNU 12.4.0; cpu 0123456789ab avx512_amx threads 2; libc 2.41; f32';
const CARD =
  'espalier-numerics 4; sources 02f3d1e7032e, GNU 12.4.0; cuda ba9876543210 NVIDIA H100 9.0 with 132 multiprocessors, compiled, ' +
  'TF32 override none, own products for Hopper cards 1, cuBLASLt 12.9, its first algorithm, workspace 1; libc 2.41; bf16';

test.each([
  ['another release', '02f3d1e7032e', 'cf786225386e', 'build of the engine (02f3d1e7032e before, cf786225386e now)'],
  ['another backend', '0123456789ab', 'cf786225386e', 'build of the kernels (0123456789ab before, cf786225386e now)'],
  ['other kernels', 'avx512_amx', 'avx2', 'kernels (avx512_amx before, avx2 now)'],
  ['other threads', 'threads 2', 'threads 1', 'threads (2 before, 1 now)'],
  ['another C library', '2.41', '2.36', 'C library (2.41 before, 2.36 now)'],
  ['another type', 'f32', 'bf16', 'type of numbers (f32 before, bf16 now)'],
])('%s is named by its part, and no other part is named', (_, was, is, ...parts) => {
  const told = numericsDifference(CPU, CPU.replaceAll(was, is));
  expect(told.split(/(?<=now\)), /)).toEqual(parts.map((part) => expect.stringContaining(part) as string));
});

test('a card is told apart from a processor, and from another card', () => {
  expect(numericsDifference(CPU, CARD)).toBe('device (cpu before, cuda now), type of numbers (f32 before, bf16 now)');
  expect(numericsDifference(CARD, CARD.replace('H100 9.0 with 132', 'H200 9.0 with 132'))).toBe(
    'card (NVIDIA H100 9.0 with 132 multiprocessors before, NVIDIA H200 9.0 with 132 multiprocessors now)',
  );
  expect(numericsDifference(CARD, CARD.replace('cuBLASLt 12.9', 'cuBLASLt 13.0'))).toMatch(/^matrix products \(.*13\.0.* now\)$/);
});

test('a fingerprint is told in short', () => {
  expect(numericsWords(CPU)).toBe('build 02f3d1e7032e, avx512_amx, threads 2, f32');
  expect(numericsWords(CARD)).toBe('build 02f3d1e7032e, NVIDIA H100 9.0 with 132 multiprocessors, bf16');
});

test('what a user can choose of the earlier numerics is told as it is chosen', () => {
  const other = CPU.replace('avx512_amx threads 2', 'avx2 threads 1');
  expect(choicesOfNumerics(CPU, other)).toEqual(['ESPALIER_CPU_ISA=avx512_amx', '--threads 2']);
  expect(choicesOfNumerics(CPU, CPU.replace('02f3d1e7032e', 'cf786225386e'))).toEqual([]);
  expect(choicesOfNumerics(CPU, other.replace('02f3d1e7032e', 'cf786225386e'))).toEqual([]);
  expect(choicesOfNumerics(CPU, other.replace('0123456789ab', 'cf786225386e'))).toEqual([]);
  expect(choicesOfNumerics(CPU, CARD)).toEqual([]);
});

test('a part that has no words is told as it is', () => {
  expect(numericsDifference(CPU, CPU.replace('numerics 4', 'numerics 5'))).toBe(
    'fingerprint (espalier-numerics 4 before, espalier-numerics 5 now)',
  );
});
