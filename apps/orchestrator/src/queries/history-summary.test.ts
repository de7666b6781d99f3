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
