import type { v1 } from '#protocol';
import { percent, shortDigest } from './format.js';

/**
 * Names the evaluated model: "intact", "masked, teacher #20", "export 0123456789ab", "intact, wanda on single weights, 50.0%", "intact with
 * closed heads of layer 3".
 */
export function subjectWords({ subject, teacherMark }: Pick<v1.Evaluation, 'subject' | 'teacherMark'>): string {
  const [kind, of = '', share] = subject.split(':');
  if (kind === 'unstructured') return `intact, ${of} on single weights, ${percent(Number(share))}`;
  const what = kind === 'export' ? `export ${shortDigest(of)}` : kind === 'closings' ? closingsWords(of, share) : subject;
  return teacherMark === undefined ? what : `${what}, teacher #${teacherMark}`;
}

function closingsWords(closes: string, layer: string | undefined): string {
  const gates = closes === 'all' ? 'all that is closed' : `closed ${closes === 'hidden' ? 'hidden units' : closes}`;
  return `intact with ${gates}${layer === undefined ? '' : ` of layer ${layer}`}`;
}

/** Tells whether the evaluation is of the intact model with a part of a state's gates closed. */
export const isOfClosings = ({ subject }: v1.Evaluation): boolean => subject.startsWith('closings:');

/** Returns the measure and its value. */
export function measured(evaluation: v1.Evaluation): { metric: string; value: number; n: bigint; convention: string } {
  const { task, metric, value, n, convention } = evaluation;
  return { metric: task === 'text' ? metric : `${task} ${metric}`, value, n, convention };
}
