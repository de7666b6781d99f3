// Tests the line that people see for an event.
import { fact, engine } from '../pruning-run/testing.js';
import { encodeFacts } from '../pruning-run/record/stored-event.js';
import type { NewFact } from '../pruning-run/record/pruning-run.events.js';
import { summarize } from './history-summary.js';

const lineOf = (one: NewFact): string => summarize(encodeFacts([one], '', () => '').events[0]!);

test('an engine with other numerics is told by the parts of the fingerprint that differ', () => {
  const numericsChangedFrom = 'espalier-numerics 3; sources 02f3d1e7032e, GNU 12.4.0; cpu threads 1; libc 2.41';
  const numericsFingerprint = 'espalier-numerics 3; sources cf786225386e, GNU 12.4.0; cpu threads 2; libc 2.41';
  const resumed = { resumedFromStep: 840, resumedFromStateDigest: 'a'.repeat(64) };
  const attached = fact('EngineAttached', { ...engine, attempt: 3, numericsFingerprint, numericsChangedFrom, ...resumed });
  expect(lineOf(attached)).toBe(
    'attempt 3: engine cpu on processor, 2 threads, numerics of sources cf786225386e, ' +
      'changed from sources 02f3d1e7032e, cpu threads 1 to sources cf786225386e, cpu threads 2',
  );
});
