import type { v1 } from '#protocol';
import { shortDigest } from './format.js';

/** What was evaluated: "intact", "masked", "masked, teacher #20", "export 0123456789ab". */
export function subjectWords({ subject, teacherMark }: v1.Evaluation): string {
  const what = subject.startsWith('export:') ? `export ${shortDigest(subject.slice('export:'.length))}` : subject;
  return teacherMark === undefined ? what : `${what}, teacher #${teacherMark}`;
}
