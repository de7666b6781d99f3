// The only writer of models that are measured without a run.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import type { EventStore } from '#event-store';
import { EspalierError } from '#protocol';
import { AggregateFeed } from '../event-sourcing/aggregate-feed.js';
import { AggregateRepository, type Aggregate, type ChangeOptions } from '../event-sourcing/aggregate-repository.js';
import { decodeStored } from '../event-sourcing/event-codec.js';
import { EVENT_STORE, LOGGER } from '../provider-names.js';
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
  private readonly feed: AggregateFeed<ModelState, NewModelFact>;
  private isFollowing = false;
  private isCaughtUp = false;

  constructor(@Inject(EVENT_STORE) store: EventStore, @Inject(LOGGER) log: Logger) {
    this.models = new AggregateRepository(store, model);
    this.feed = new AggregateFeed<ModelState, NewModelFact>(
      store,
      model,
      {
        isClosed: () => false,
        find: (weightsDigest) => this.models.find(weightsDigest),
        begin: () => Promise.resolve({ position: null, open: new Map() }),
        revisionBefore: () => -1,
        changed: () => undefined,
        damaged: (weightsDigest) => log.error({ weightsDigest }, 'an event of a model could not be read: the model is left alone'),
      },
      log,
    );
  }

  async stop(): Promise<void> {
    await this.feed.stop();
  }

  /**
   * Each look at a run asks for its model. So the models are followed from the first question on, and are in memory as soon as the feed has
   * caught up. Until then the store is read.
   * @throws EspalierError MODEL_DAMAGED
   */
  async find(weightsDigest: string): Promise<ModelState | null> {
    if (!this.isFollowing) {
      this.isFollowing = true;
      void this.feed.start().then(() => (this.isCaughtUp = true));
    }
    if (!this.isCaughtUp || this.feed.isDamaged(weightsDigest)) return this.models.find(weightsDigest);
    return this.feed.get(weightsDigest) ?? null;
  }

  async change(change: ModelChange, options: ChangeOptions): Promise<ModelState> {
    const { weightsDigest } = change;
    const { state } = await this.models.change(weightsDigest, change, options);
    if (this.isCaughtUp) await this.feed.seen(weightsDigest, state.revision);
    return state;
  }
}
