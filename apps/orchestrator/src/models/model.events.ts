// Every fact that is stored about a model without a run, in the past tense. Its stream is `model-<digest of the weights>`. The bytes and
// the digest chain have the form of those of runs.
import type { CallContext } from '../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../event-sourcing/event-codec.js';
import { eventTypesOf } from '../event-sourcing/event-types.js';
import type { PruningRunEventData } from '../pruning-run/record/pruning-run.events.js';

/** A value as runs record it. It names no artifacts, so it keeps none from being thrown away. */
export type ModelEvaluation = Omit<PruningRunEventData<'EvaluationRecorded'>, 'samplesDigest'>;

/** A measurement of speed: a run records ratios to its intact model, and a model alone has only times. */
export type ModelSpeedFact = Omit<
  PruningRunEventData<'SpeedRecorded'>,
  'subject' | 'step' | 'stateDigest' | 'teacherMark' | 'prefill' | 'decode'
> & {
  prefillSeconds: number;
  passSeconds: number;
};

/** An export as runs record it. It keeps no artifacts either: `gc` removes the files once the client has them. */
export type ModelExportFact = Omit<PruningRunEventData<'ModelExported'>, 'step' | 'stateDigest' | 'teacherMark'>;

interface Facts {
  ModelEvaluated: { weightsDigest: string; path: string; evaluation: ModelEvaluation };
  ModelSpeedMeasured: { weightsDigest: string; path: string; speed: ModelSpeedFact };
  ModelAloneExported: { weightsDigest: string; path: string; export: ModelExportFact };
}

export type NewModelFact = {
  [T in keyof Facts]: { type: T; at: string; data: Facts[T]; context?: CallContext | undefined };
}[keyof Facts];
export type ModelEvent = (NewModelFact & Envelope) | UnknownEvent;

export const MODEL_STREAM_PREFIX = 'model-';

export const modelEventTypes = eventTypesOf<keyof Facts>({ ModelEvaluated: true, ModelSpeedMeasured: true, ModelAloneExported: true });
