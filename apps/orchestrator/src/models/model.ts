// The aggregate of a model that is measured without a run. All functions are pure.
import { sameMeasure } from '../pruning-run/record/measures.js';
import type { ModelEvaluation, ModelEvent, NewModelFact } from './model.events.js';

export interface ModelState {
  evaluations: (ModelEvaluation & { at: string })[];
  revision: number;
  chain: string;
}

export interface ModelChange {
  kind: 'recordEvaluation';
  weightsDigest: string;
  /** The folder where the model lay. */
  path: string;
  evaluation: ModelEvaluation;
}

export function evolve(state: ModelState | null, event: ModelEvent): ModelState {
  const { evaluations, revision } = state ?? { evaluations: [], revision: -1 };
  const more = event.type === 'ModelEvaluated' ? [{ ...event.data.evaluation, at: event.at }] : [];
  return { evaluations: [...evaluations, ...more], revision: revision + 1, chain: event.chain };
}

/** A value that is recorded already is not recorded again. */
export function decide(state: ModelState | null, { kind: _, ...data }: ModelChange, at: string): NewModelFact[] {
  const { evaluation } = data;
  const last = state?.evaluations.findLast((one) => sameMeasure(one, evaluation));
  return last?.value === evaluation.value ? [] : [{ type: 'ModelEvaluated', at, data }];
}
