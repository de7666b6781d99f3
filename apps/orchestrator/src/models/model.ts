// The aggregate of a model that is measured without a run. All functions are pure.
import { sameMeasure } from '../pruning-run/record/measures.js';
import type { ModelEvaluation, ModelEvent, ModelExportFact, ModelSpeedFact, NewModelFact } from './model.events.js';

export interface ModelState {
  evaluations: (ModelEvaluation & { at: string })[];
  speeds: (ModelSpeedFact & { at: string })[];
  exports: (ModelExportFact & { at: string })[];
  revision: number;
  chain: string;
}

/** The path is that of the folder where the model lay. */
export type ModelChange = { weightsDigest: string; path: string } & (
  | { kind: 'recordEvaluation'; evaluation: ModelEvaluation }
  | { kind: 'recordSpeed'; speed: ModelSpeedFact }
  | { kind: 'recordExport'; export: ModelExportFact }
);

export function evolve(state: ModelState | null, event: ModelEvent): ModelState {
  const before = state ?? { evaluations: [], speeds: [], exports: [], revision: -1 };
  const after = { ...before, revision: before.revision + 1, chain: event.chain };
  switch (event.type) {
    case 'ModelEvaluated':
      return { ...after, evaluations: [...before.evaluations, { ...event.data.evaluation, at: event.at }] };
    case 'ModelSpeedMeasured':
      return { ...after, speeds: [...before.speeds, { ...event.data.speed, at: event.at }] };
    case 'ModelAloneExported':
      return { ...after, exports: [...before.exports, { ...event.data.export, at: event.at }] };
    default:
      return after;
  }
}

/** A value that is recorded already is not recorded again. */
export function decide(state: ModelState | null, change: ModelChange, at: string): NewModelFact[] {
  const { weightsDigest, path } = change;
  switch (change.kind) {
    case 'recordEvaluation': {
      const { evaluation } = change;
      const last = state?.evaluations.findLast((one) => sameMeasure(one, evaluation));
      return last?.value === evaluation.value ? [] : [{ type: 'ModelEvaluated', at, data: { weightsDigest, path, evaluation } }];
    }
    case 'recordSpeed':
      return [{ type: 'ModelSpeedMeasured', at, data: { weightsDigest, path, speed: change.speed } }];
    case 'recordExport':
      return [{ type: 'ModelAloneExported', at, data: { weightsDigest, path, export: change.export } }];
  }
}
