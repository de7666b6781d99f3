// Every fact that is stored about a model without a run, in the past tense. Its stream is `model-<digest of the weights>`. The bytes and
// the digest chain have the form of those of runs.
import type { CallContext } from '../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../event-sourcing/event-codec.js';
import { eventTypesOf } from '../event-sourcing/event-types.js';
import type { PruningRunEventData } from '../pruning-run/record/pruning-run.events.js';

/** A value as runs record it. It names no artifacts, so it keeps none from being thrown away. */
export type ModelEvaluation = Omit<PruningRunEventData<'EvaluationRecorded'>, 'samplesDigest'>;

interface Facts {
  ModelEvaluated: { weightsDigest: string; path: string; evaluation: ModelEvaluation };
}

export type NewModelFact = { type: 'ModelEvaluated'; at: string; data: Facts['ModelEvaluated']; context?: CallContext | undefined };
export type ModelEvent = (NewModelFact & Envelope) | UnknownEvent;

export const MODEL_STREAM_PREFIX = 'model-';

export const modelEventTypes = eventTypesOf<keyof Facts>({ ModelEvaluated: true }, 1);
