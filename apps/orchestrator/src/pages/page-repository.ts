// The only writer of pages. It keeps all of them in memory as the store has them, since they are few and small.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import type { EventStore } from '#event-store';
import { EspalierError } from '#protocol';
import { AggregateFeed } from '../event-sourcing/aggregate-feed.js';
import { AggregateRepository, type Aggregate, type ChangeOptions } from '../event-sourcing/aggregate-repository.js';
import { decodeStored } from '../event-sourcing/event-codec.js';
import { EVENT_STORE, LOGGER } from '../provider-names.js';
import { PAGE_STREAM_PREFIX, pageEventTypes, type NewPageFact, type PageEvent } from './page.events.js';
import { decide, evolve, pageNotFound, type PageChange, type PageState } from './page.js';

const page: Aggregate<PageState, PageChange, NewPageFact> = {
  name: 'page',
  types: pageEventTypes,
  streamPrefix: PAGE_STREAM_PREFIX,
  decode: (stored) => decodeStored(pageEventTypes, stored) as PageEvent,
  evolve,
  decide,
  notFound: pageNotFound,
  damaged: (pageId, problems) => new EspalierError('PAGE_DAMAGED', `the record of page ${pageId} is damaged: ${problems.join('; ')}`),
};

@Injectable()
export class PageRepository {
  private readonly pages: AggregateRepository<PageState, PageChange, NewPageFact>;
  private readonly feed: AggregateFeed<PageState, NewPageFact>;

  constructor(@Inject(EVENT_STORE) store: EventStore, @Inject(LOGGER) log: Logger) {
    this.pages = new AggregateRepository(store, page);
    this.feed = new AggregateFeed<PageState, NewPageFact>(
      store,
      page,
      {
        isClosed: ({ isDeleted }) => isDeleted,
        find: (pageId) => this.pages.find(pageId),
        begin: () => Promise.resolve({ position: null, open: new Map() }),
        revisionBefore: () => -1,
        changed: () => undefined,
        damaged: (pageId) => log.error({ pageId }, 'an event of a page could not be read: the page is left alone'),
      },
      log,
    );
  }

  async stop(): Promise<void> {
    await this.feed.stop();
  }

  /** All pages, the latest change first. */
  async all(): Promise<PageState[]> {
    await this.feed.start();
    return this.feed.all().sort((left, right) => right.savedAt.localeCompare(left.savedAt));
  }

  /** @throws EspalierError PAGE_NOT_FOUND, PAGE_DAMAGED */
  async load(pageId: string): Promise<PageState> {
    await this.feed.start();
    const state = this.feed.get(pageId) ?? (this.feed.isDamaged(pageId) ? await this.pages.find(pageId) : null);
    if (state === null) throw pageNotFound(pageId);
    return state;
  }

  async change(pageId: string, change: PageChange, options: ChangeOptions): Promise<PageState> {
    await this.feed.start();
    const { state, facts } = await this.pages.change(pageId, change, options);
    if (facts.length > 0) await this.feed.seen(pageId, state.revision);
    return state;
  }
}
