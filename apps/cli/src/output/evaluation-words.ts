import type { v1 } from '#protocol';
import { percent, shortDigest } from './format.js';

/** The model that was evaluated: "intact", "masked, teacher #20", "export 0123456789ab", "intact, wanda on single weights, 50.0%". */
export function subjectWords({ subject, teacherMark }: v1.Evaluation): string {
  const [kind, of, share] = subject.split(':');
  if (kind === 'unstructured') return `intact, ${of} on single weights, ${percent(Number(share))}`;
  const what = kind === 'export' ? `export ${shortDigest(of!)}` : subject;
  return teacherMark === undefined ? what : `${what}, teacher #${teacherMark}`;
}

/** The measure. A server of an earlier release says it in the fields of perplexity only. */
export function measured(evaluation: v1.Evaluation): { metric: string; value: number; n: bigint; convention: string } {
  const { task, metric, value, n, convention, perplexity, predictions, window } = evaluation;
  if (metric === '') return { metric: 'perplexity', value: perplexity, n: predictions, convention: `windows of ${window} tokens` };
  return { metric: task === 'text' ? metric : `${task} ${metric}`, value, n, convention };
}
