// Tests for which kinds of job a run asks, for given numerics of the run, memory of the kinds, and engines that came.
import type { RunInNeed } from '../engine-pool/engine-source.js';
import type { JobKind } from './fleet-settings.js';
import { GB, JobChoice } from './job-choice.js';

const numerics = (kernels = 'avx2', threads = 8): string =>
  `espalier-numerics 4; sources 02f3d1e7032e, GNU 12.4.0; cpu 0123456789ab ${kernels} threads ${threads}; libc 2.41; f32`;
const ON_CARD = 'espalier-numerics 4; sources 02f3d1e7032e, GNU 12.4.0; cuda ba9876543210 NVIDIA H100 9.0 with 132 multiprocessors; bf16';
const kind = (name: string, more: Partial<JobKind> = {}): JobKind => ({
  ...{ name, cpus: 8, cards: null, memoryGb: null, idleSeconds: 60, command: null, slurm: null, kubernetes: null },
  ...more,
});
const CPU = kind('cpu');
const GPU = kind('gpu', { cards: { type: null, count: 1 } });
const BIG = kind('big', { memoryGb: 64 });
const SMALL = kind('small', { memoryGb: 8 });
const MINUTES = 60_000;
const run = (more: Partial<RunInNeed> = {}): RunInNeed =>
  ({ runId: 'a', key: 'one session', caller: '', fingerprint: null, fits: new Map(), ...more }) as RunInNeed;

let choice: JobChoice;
let planned: number;
let needed: number;
beforeEach(() => {
  [planned, needed] = [0, 4 * GB];
  choice = new JobChoice(() => {
    planned += 1;
    return needed < 0 ? Promise.reject(new Error('no engine')) : Promise.resolve(needed);
  });
});
const suits = (one: RunInNeed, kinds: readonly JobKind[], nowMs = 0): string[] =>
  kinds.filter((of) => choice.whyNot(one, of, nowMs) === null).map(({ name }) => name);
const came = (
  one: RunInNeed,
  fits: Record<string, { fingerprint: string; neededBytes?: number; availableBytes?: number }>,
  nowMs = 0,
): void =>
  choice.note(
    [{ ...one, fits: new Map(Object.entries(fits).map(([name, fit]) => [name, { neededBytes: 1, availableBytes: 2, ...fit }])) }],
    (engine) => (engine.startsWith('ours-') ? engine.slice(5).replace(/\d/, '') : null),
    (engine) => !engine.endsWith('9'),
    nowMs,
  );

it.each<[string, string | null, string[]]>([
  ['that has not begun', null, ['cpu', 'gpu']],
  ['that was trained on the processor', numerics(), ['cpu']],
  ['that was trained with other threads', numerics('avx2', 4), []],
  ['that was trained on a card', ON_CARD, ['gpu']],
  ['of numerics that can not be read', 'f1', ['cpu', 'gpu']],
])('a run %s', (_, fingerprint, kinds) => {
  expect(suits(run({ fingerprint }), [CPU, GPU])).toEqual(kinds);
});

it('after each engine of other numerics there is a longer pause of its kind, since nodes may differ', () => {
  const begun = run({ fingerprint: numerics() });
  const other = { fingerprint: numerics('avx512') };
  came(begun, { theirs: other, 'ours-cpu1': { fingerprint: numerics() } });
  expect(suits(begun, [CPU])).toEqual(['cpu']);
  came(begun, { 'ours-cpu1': other });
  expect([0, 9, 10].map((minutes) => suits(begun, [CPU, BIG], minutes * MINUTES))).toEqual([['big'], ['big'], ['cpu', 'big']]);
  came(begun, { 'ours-cpu1': other, 'ours-cpu2': other }, 10 * MINUTES);
  expect([29, 30].map((minutes) => suits(begun, [CPU], minutes * MINUTES))).toEqual([[], ['cpu']]);
  choice.clear();
  expect(suits(begun, [CPU])).toEqual(['cpu']);
});

it('one that needs more memory than a kind has is given to another kind, and is planned once', async () => {
  needed = 9 * GB;
  await choice.planMemory([run(), run({ runId: 'b' })], [SMALL, BIG, GPU]);
  await choice.planMemory([run()], [SMALL, BIG, GPU]);
  expect([suits(run(), [SMALL, BIG, GPU]), planned]).toEqual([['big', 'gpu'], 1]);
});

it('memory is not planned where it decides nothing, and a run without a plan may take any', async () => {
  await choice.planMemory([run()], [BIG]);
  await choice.planMemory([run()], [CPU, GPU]);
  expect(planned).toBe(0);
  needed = -1;
  await choice.planMemory([run()], [SMALL, BIG]);
  expect(suits(run(), [SMALL, BIG])).toEqual(['small', 'big']);
});

it('a free engine that has too little memory pauses its kind for such runs; one that works says nothing of its job', () => {
  const small = { fingerprint: numerics(), neededBytes: 3, availableBytes: 2 };
  came(run(), { 'ours-gpu9': small });
  expect(suits(run(), [GPU])).toEqual(['gpu']);
  came(run(), { 'ours-gpu1': small });
  expect(suits(run(), [GPU, BIG])).toEqual(['big']);
  expect(suits(run({ key: 'another session' }), [GPU])).toEqual(['gpu']);
});
