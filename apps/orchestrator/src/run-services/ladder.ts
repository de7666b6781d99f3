// Evaluates the ladder of a run, rung by rung. Each value is recorded at once, so a job that ends early has lost nothing.
import { invalidField, v1 } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { ownPerplexity, sameMeasure } from '../pruning-run/record/measures.js';
import type { RunServices } from './run-services.js';
import type { Progress } from './work.js';

/** The request for one evaluation, without the run. */
export type Rung = Pick<v1.EvaluateRunRequest, 'intact' | 'teacherMark'>;

/**
 * @param services the part of RunServices that evaluates
 * @throws EspalierError FIELD_REQUIRED where the run has no validation text
 */
export async function* evaluateLadder(
  services: Pick<RunServices, 'evaluateRun' | 'preparedRun'>,
  { every: asked }: Pick<v1.EvaluateLadderRequest, 'every'>,
  runId: string,
  by: CallContext,
  signal: AbortSignal,
): AsyncGenerator<Progress<null>> {
  const every = asked || 1;
  const run = await services.preparedRun(runId);
  if (run.data.validationDigest === null)
    throw invalidField('FIELD_REQUIRED', 'run_id', `run ${runId} has no validation text, so its ladder can't be evaluated`);
  const rungs = missingRungs(run, every);
  for (const [index, rung] of rungs.entries()) {
    const shareWith = (done: number) => ({
      doneShare: (index + done) / rungs.length,
      doing: `${index} of ${rungs.length} models evaluated`,
    });
    yield shareWith(0);
    if (!missingRungs(await services.preparedRun(runId), every).some((one) => isSame(one, rung))) continue; // another caller evaluated it
    const request = v1.EvaluateRunRequest.fromPartial({ runId, ...rung });
    for await (const news of services.evaluateRun(request, runId, by, signal))
      if (!('result' in news)) yield 'doneShare' in news ? shareWith(news.doneShare) : news;
  }
  yield { result: null };
}

const isSame = (one: Rung, other: Rung): boolean => one.intact === other.intact && one.teacherMark === other.teacherMark;

type Ladder = Pick<PruningRunState, 'runId' | 'teachers' | 'current' | 'evaluations' | 'data' | 'settings'>;

/**
 * The rungs that have no value yet: the intact model, each n-th of the run's own teachers in their order, and the last state. Inherited
 * teachers are rungs of the parent's ladder.
 */
export function missingRungs(run: Ladder, every = 1): Rung[] {
  const measure = ownPerplexity(run);
  if (measure === null) return [];
  const isKnown = (subject: 'intact' | 'masked', stateDigest: string | null): boolean =>
    run.evaluations.some((one) => one.subject === subject && one.stateDigest === stateDigest && sameMeasure(one, measure));
  const isLast = (stateDigest: string): boolean => stateDigest === run.current?.stateDigest;
  const own = run.teachers.filter(({ ownerRunId }) => ownerRunId === run.runId);
  const teachers = own.filter(
    ({ state }, index) => (index % every === 0 || isLast(state.stateDigest)) && !isKnown('masked', state.stateDigest),
  );
  const isLastNew =
    run.current !== null && !isKnown('masked', run.current.stateDigest) && !own.some(({ state }) => isLast(state.stateDigest));
  return [
    ...(isKnown('intact', null) ? [] : [{ intact: true, teacherMark: undefined }]),
    ...teachers.map(({ mark }) => ({ intact: false, teacherMark: mark })),
    ...(isLastNew ? [{ intact: false, teacherMark: undefined }] : []),
  ];
}
