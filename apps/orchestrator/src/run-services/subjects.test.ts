// Given a run and what a request names, when the subject is chosen, then the state, export or error.
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { subjectOf } from './subjects.js';

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
