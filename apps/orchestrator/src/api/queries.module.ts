import { Inject, Module, type OnModuleDestroy } from '@nestjs/common';
import type { Logger } from 'pino';
import type { EventStore } from '#event-store';
import { RunQueriesGrpc } from './run-queries.grpc.js';
import { EVENT_STORE, LIVE_PROGRESS, LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import type { LiveSteps } from '../live/live-steps.js';
import { RunsAt } from '../queries/run-at.js';
import { ModelRepository } from '../models/model-repository.js';
import { RunViews } from '../views/run-views.js';

interface ViewsConfig {
  dataFolder: string;
}

const WHY_READ_AGAIN = {
  missing: 'the file views.sqlite is missing',
  otherTables: 'the file views.sqlite is of another release',
  damaged: 'the file views.sqlite is damaged',
  otherStore: 'the file views.sqlite has other events than the event store',
} as const;

/**
 * The read side. It needs EVENT_STORE, ARTIFACT_STORE, ORCHESTRATOR_CONFIG, LIVE_PROGRESS and LOGGER from a global module.
 */
@Module({
  providers: [
    {
      provide: RunViews,
      inject: [EVENT_STORE, ORCHESTRATOR_CONFIG, LIVE_PROGRESS, LOGGER],
      useFactory: (store: EventStore, config: ViewsConfig, live: LiveSteps, log: Logger): RunViews => {
        const views = new RunViews({
          store,
          folder: config.dataFolder,
          live,
          onError: (error) => log.error(error, 'the views could not be written; trying again'),
          onReadAgain: (because) => {
            const words = `${WHY_READ_AGAIN[because]}: the views are being rebuilt from all events, and lists and queries wait for them`;
            if (because === 'damaged') log.warn(words);
            else log.info(words);
          },
          onDamage: ({ stream, revision, message }) =>
            log.error({ stream, revision: Number(revision) }, `an event can't be read and is passed over: ${message}`),
        });
        views.start();
        return views;
      },
    },
    {
      provide: RunsAt,
      inject: [RunViews, EVENT_STORE],
      useFactory: (views: RunViews, store: EventStore): RunsAt => new RunsAt(views, store),
    },
    ModelRepository,
    RunQueriesGrpc,
  ],
  exports: [RunViews, RunsAt, ModelRepository, RunQueriesGrpc],
})
export class RunViewsModule implements OnModuleDestroy {
  constructor(
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(ModelRepository) private readonly models: ModelRepository,
  ) {}

  async onModuleDestroy(): Promise<void> {
    await this.models.stop();
    await this.views.stop();
  }
}
