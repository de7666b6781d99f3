// Describes a job of a run: its work, its model, and its progress.
import { gainWords, replayEngineWords } from '../../../../../libs/comparison/src/index.js';
import { subjectWords } from '../../forms/subjects.js';
import { JobState, type Job } from '../../generated/espalier/v1/run_service_pb.js';
import { counted, decimal, percent } from '../../ui/format.js';

/** Returns a text like "perplexity of teacher #20" or "export of the last state as gguf f16". */
export function jobTitle({ request }: Pick<Job, 'request'>): string {
  const work = request?.work;
  switch (work?.case) {
    case 'evaluate': {
      const { unstructured, dataPath } = work.value;
      const of = unstructured === undefined ? subjectWords(work.value) : `intact model, ${unstructured.importance} on single weights`;
      return `Perplexity of ${of}${dataPath === '' ? '' : ` on ${dataPath}`}`;
    }
    case 'evaluateTasks':
      return `${work.value.tasks.join(', ')} on ${subjectWords(work.value)}`;
    case 'export':
      return `Export of ${subjectWords(work.value)} as ${[work.value.format || 'hf-remote', work.value.dtype].filter(Boolean).join(' ')}`;
    case 'bench':
      return `Speed of ${subjectWords(work.value)}`;
    case 'verify':
      return work.value.replay ? 'Check of the record with replay' : 'Check of the record';
    case 'ladder':
      return work.value.every > 1 ? `Perplexity of each ${ordinal(work.value.every)} teacher` : 'Perplexity of all teachers';
    default:
      return 'Job of another release';
  }
}

const ordinal = (every: number): string => ({ 2: 'second', 5: 'fifth', 10: 'tenth' })[every] ?? `${every}th`;

export function jobWords({ state, doneShare, doing, waitingFor, failure }: Job): string {
  switch (state) {
    case JobState.RUNNING:
      return waitingFor === '' ? [percent(doneShare, 0), doing].filter(Boolean).join(', ') : `waits for ${waitingFor}`;
    case JobState.CANCELLED:
      return 'cancelled';
    case JobState.FAILED:
      return failure?.message || 'failed, the cause is not known';
    default:
      return 'done';
  }
}

/** Describes the result in one line; '' where the job has no result. */
export function resultWords({
  evaluations,
  export: made,
  speed,
  verified,
}: Pick<Job, 'evaluations' | 'export' | 'speed' | 'verified'>): string {
  if (verified !== undefined) return verdictWords(verified);
  if (made !== undefined) return proofWords(made.proof).join('; ');
  if (speed?.compact?.decodeSpeedUp !== undefined) {
    const { prefillSpeedUp: prefill, decodeSpeedUp: decode } = speed.compact;
    return `${prefill === undefined ? '' : `prefill ${gainWords(prefill)}, `}decode ${gainWords(decode)}`;
  }
  return evaluations
    .map(({ task, metric, value, stderr }) => {
      const name = task === 'text' ? metric : `${task} ${metric}`;
      return `${name} ${decimal(value)}${stderr === undefined ? '' : ` ± ${decimal(stderr)}`}`;
    })
    .join(', ');
}

/** Tells whether a job failed, or found that the record is wrong. */
export const hasFailed = ({ state, verified }: Pick<Job, 'state' | 'verified'>): boolean =>
  state === JobState.FAILED || verified?.ok === false;

function verdictWords({ ok, replayedSteps, replayEngines, problems }: NonNullable<Job['verified']>): string {
  const by = replayEngines.length === 0 ? '' : ` ${replayEngineWords(replayEngines)}`;
  const replayed = `${counted(Number(replayedSteps), 'step')} computed again${by}`;
  if (ok) return `everything holds, ${replayed}`;
  return `${counted(problems.length, 'problem')} found, ${replayed}: ${problems[0] ?? ''}`;
}

type Proof = NonNullable<Job['export']>['proof'];

/** Describes how much each loader differs from the masked student. */
export function proofWords(proof: Proof): string[] {
  if (proof === undefined) return ['not compared with the masked student'];
  return proof.loaders.map(({ loader, outcome, negativeLogLikelihood, message }) => {
    if (outcome !== 'agrees') return `${loader} ${outcome}: ${message}`;
    const difference = (negativeLogLikelihood - proof.negativeLogLikelihood).toExponential(1).replace('-', '\u2212').replace('e+', 'e');
    return `${loader} agrees, ${difference.replace('e-', 'e\u2212')} nats away`;
  });
}
