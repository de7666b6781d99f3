import type { v1 } from '#protocol';
import { percent, shortDigest } from './format.js';

/** Names the evaluated model: "intact", "masked, teacher #20", "export 0123456789ab", "intact, wanda on single weights, 50.0%". */
export function subjectWords({ subject, teacherMark }: Pick<v1.Evaluation, 'subject' | 'teacherMark'>): string {
  const [kind, of = '', share] = subject.split(':');
  if (kind === 'unstructured') return `intact, ${of} on single weights, ${percent(Number(share))}`;
  const what = kind === 'export' ? `export ${shortDigest(of)}` : subject;
  return teacherMark === undefined ? what : `${what}, teacher #${teacherMark}`;
}

/** Returns the measure and its value. */
export function measured(evaluation: v1.Evaluation): { metric: string; value: number; n: bigint; convention: string } {
  const { task, metric, value, n, convention } = evaluation;
  return { metric: task === 'text' ? metric : `${task} ${metric}`, value, n, convention };
}
