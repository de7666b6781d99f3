// Chooses the evaluation that counts as the result of a run. Users may evaluate many things (a teacher, other text, other windows), so one
// rule chooses the perplexity that lists and comparisons show. All functions are pure.
import { isPerplexity, ownPerplexity, sameMeasure } from '../record/measures.js';
import type { RecordedEvaluation, PruningRunState } from './pruning-run.state.js';

type Measured = Pick<PruningRunState, 'current' | 'data' | 'settings' | 'evaluations'>;

/**
 * Tells whether the evaluation is a perplexity on the run's own validation text, over the run's own windows of it. Only these values
 * can be compared.
 */
function isComparable(run: Pick<Measured, 'data' | 'settings'>, evaluation: RecordedEvaluation): boolean {
  const own = ownPerplexity(run);
  return own !== null && sameMeasure(evaluation, own);
}

/** Tells whether the evaluation is of the masked model in the last recorded state. A teacher counts if it is that state. */
function isHeadline(run: Measured, evaluation: RecordedEvaluation): boolean {
  return evaluation.subject === 'masked' && evaluation.stateDigest === (run.current?.stateDigest ?? null) && isComparable(run, evaluation);
}

export function headlineOf(run: Measured): RecordedEvaluation | null {
  return run.evaluations.findLast((one) => isHeadline(run, one)) ?? null;
}

/** The evaluations that two runs are compared by: the headline, the intact model, and an export of the last recorded state. */
export function comparableOf(run: Measured): {
  intact: RecordedEvaluation | null;
  masked: RecordedEvaluation | null;
  exported: RecordedEvaluation | null;
} {
  const last = (fits: (evaluation: RecordedEvaluation) => boolean): RecordedEvaluation | null =>
    run.evaluations.findLast((one) => isComparable(run, one) && fits(one)) ?? null;
  const isOfLastState = (one: RecordedEvaluation): boolean => run.current !== null && one.stateDigest === run.current.stateDigest;
  return {
    intact: last((one) => one.subject === 'intact'),
    masked: headlineOf(run),
    exported: last((one) => one.subject.startsWith('export:') && isOfLastState(one)),
  };
}

/** The evaluations of the last recorded state by other measures than perplexity: the latest value of each measure. */
export function otherMeasuresOf(run: Measured): RecordedEvaluation[] {
  const ofLastState = run.evaluations.filter((one) => !isPerplexity(one) && one.stateDigest === (run.current?.stateDigest ?? null));
  return ofLastState.filter(
    (one, index) => !ofLastState.slice(index + 1).some((later) => later.subject === one.subject && sameMeasure(later, one)),
  );
}
