// Tests which state, export or error follows from a run and the names in a request.
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { jobOn, subjectOf } from './subjects.js';

const exported = { exportDigest: 'abcd'.repeat(16), step: 20, stateDigest: 'e'.repeat(64), teacherMark: 3 };
const gone = { kind: 'export', digest: exported.exportDigest, marks: [], step: 20, revision: 9, reason: 'room' };
const run = (discarded: object[]): PruningRunState =>
  ({ runId: 'r', status: 'completed', exports: [exported], teachers: [], discarded }) as unknown as PruningRunState;
const asked = (exportDigest: string) => ({ intact: false, teacherMark: undefined, exportDigest });

test.each([exported.exportDigest, 'abcd'])('an export named as %s is that export', (digest) => {
  expect(subjectOf(run([]), asked(digest))).toEqual({ kind: 'export', ...exported });
});

test.each([exported.exportDigest, 'abcd'])('an export that was thrown away, named as %s, is answered with the event', (digest) => {
  expect(() => subjectOf(run([gone]), asked(digest))).toThrow(expect.objectContaining({ code: 'ARTIFACT_DISCARDED' }));
});

test('what a job on an export reads stays until its end', () => {
  const files = [{ name: 'model.gguf', bytes: 1, digest: 'f'.repeat(64) }];
  const subject = subjectOf(run([]), asked('abcd'));
  expect(jobOn(subject, { runId: 'r', exports: [{ ...exported, files }] } as never, 'a job').pinned).toEqual([
    exported.exportDigest,
    files[0]!.digest,
  ]);
});
