// Tests the line that people see for an event.
import { fact, engine } from '../pruning-run/testing.js';
import { encodeFacts } from '../pruning-run/record/stored-event.js';
import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { summarize } from './history-summary.js';

const lineOf = (one: NewFact): string => summarize(encodeFacts([one], '', () => '').events[0]!);

test('an engine with other numerics is told by the parts of the fingerprint that differ, and whether it trains', () => {
  const numericsChangedFrom = 'espalier-numerics 3; sources 02f3d1e7032e, GNU 12.4.0; cpu threads 1; libc 2.41';
  const numericsFingerprint = 'espalier-numerics 3; sources cf786225386e, GNU 12.4.0; cpu threads 2; libc 2.41';
  const resumed = { resumedFromStep: 840, resumedFromStateDigest: 'a'.repeat(64) };
  const attached = { ...engine, attempt: 3, numericsFingerprint, numericsChangedFrom, ...resumed };
  const line =
    'attempt 3: engine local-1, cpu on processor, 2 threads, numerics of sources cf786225386e, ' +
    'changed: build of the engine (02f3d1e7032e before, cf786225386e now), threads (1 before, 2 now)';
  expect(lineOf(fact('EngineAttached', attached))).toBe(line);
  const evaluating = fact('EngineAttached', { ...attached, evaluatesOnly: true });
  expect(lineOf(evaluating)).toBe(`${line}; it only evaluates, since all steps are done`);
});

test('a measured speed is told with its intervals and what it was measured on', () => {
  const about = { subject: 'masked', step: 40, stateDigest: 'a'.repeat(64), teacherMark: null } as const;
  const on = { backend: 'cpu', device: 'a processor', threads: 2, computeDtype: 'bf16', batch: 1, promptTokens: 64, tokens: 32, rounds: 9 };
  const [prefill, decode] = [
    { times: 1.2, low: 1.15, high: 1.25 },
    { times: 1, low: 0.99, high: 1.01 },
  ];
  expect(lineOf(fact('SpeedRecorded', { ...about, ...on, prefill, decode }))).toBe(
    'speed of masked at step 40: prefill 1.2x faster (1.15 to 1.25), decode as fast (0.99 to 1.01) ' +
      '(batch 1, prompts of 64 tokens, bf16, on cpu a processor)',
  );
});
