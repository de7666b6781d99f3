// The only writer of models that are measured without a run.
import { Inject, Injectable } from '@nestjs/common';
import type { EventStore } from '#event-store';
import { EspalierError } from '#protocol';
import { AggregateRepository, type Aggregate, type ChangeOptions } from '../event-sourcing/aggregate-repository.js';
import { decodeStored } from '../event-sourcing/event-codec.js';
import { EVENT_STORE } from '../provider-names.js';
import { MODEL_STREAM_PREFIX, modelEventTypes, type ModelEvent, type NewModelFact } from './model.events.js';
import { decide, evolve, type ModelChange, type ModelState } from './model.js';

const model: Aggregate<ModelState, ModelChange, NewModelFact> = {
  name: 'model',
  types: modelEventTypes,
  streamPrefix: MODEL_STREAM_PREFIX,
  decode: (stored) => decodeStored(modelEventTypes, stored) as ModelEvent,
  evolve,
  decide,
  notFound: (digest) => new EspalierError('MODEL_NOT_MEASURED', `nothing is recorded of the model with the weights ${digest}`),
  damaged: (digest, problems) =>
    new EspalierError('MODEL_DAMAGED', `the record of the model with the weights ${digest} is damaged: ${problems.join('; ')}`),
};

@Injectable()
export class ModelRepository {
  private readonly models: AggregateRepository<ModelState, ModelChange, NewModelFact>;

  constructor(@Inject(EVENT_STORE) store: EventStore) {
    this.models = new AggregateRepository(store, model);
  }

  find(weightsDigest: string): Promise<ModelState | null> {
    return this.models.find(weightsDigest);
  }

  async change(change: ModelChange, options: ChangeOptions): Promise<ModelState> {
    return (await this.models.change(change.weightsDigest, change, options)).state;
  }
}
