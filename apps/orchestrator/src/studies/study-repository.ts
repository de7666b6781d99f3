// The only writer of studies. It keeps all of them in memory as the store has them, since they are few and small.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import type { EventStore } from '#event-store';
import { EspalierError } from '#protocol';
import { AggregateFeed } from '../event-sourcing/aggregate-feed.js';
import { AggregateRepository, type Aggregate, type ChangeOptions } from '../event-sourcing/aggregate-repository.js';
import { decodeStored } from '../event-sourcing/event-codec.js';
import { EVENT_STORE, LOGGER } from '../provider-names.js';
import { STUDY_STREAM_PREFIX, studyEventTypes, type NewStudyFact, type StudyEvent } from './study.events.js';
import { studyNamed } from './study-names.js';
import { decide, evolve, studyNotFound, type StudyChange, type StudyState } from './study.js';

const study: Aggregate<StudyState, StudyChange, NewStudyFact> = {
  name: 'study',
  types: studyEventTypes,
  streamPrefix: STUDY_STREAM_PREFIX,
  decode: (stored) => decodeStored(studyEventTypes, stored) as StudyEvent,
  evolve,
  decide,
  notFound: studyNotFound,
  damaged: (studyId, problems) =>
    new EspalierError('STUDY_DAMAGED', `the record of study ${studyId} is damaged, so it can't go on: ${problems.join('; ')}`),
};

@Injectable()
export class StudyRepository {
  private readonly studies: AggregateRepository<StudyState, StudyChange, NewStudyFact>;
  private readonly feed: AggregateFeed<StudyState, NewStudyFact>;
  private readonly listeners = new Set<() => void>();
  private starting: Promise<void> | null = null;

  constructor(@Inject(EVENT_STORE) store: EventStore, @Inject(LOGGER) log: Logger) {
    this.studies = new AggregateRepository(store, study);
    this.feed = new AggregateFeed<StudyState, NewStudyFact>(
      store,
      study,
      {
        isClosed: () => false, // ended studies are listed, too
        find: (studyId) => this.studies.find(studyId),
        begin: () => Promise.resolve({ position: null, open: new Map() }),
        revisionBefore: () => -1,
        changed: () => this.notify(),
        damaged: (studyId) => {
          log.error({ studyId }, 'an event of a study could not be read: the study is left alone');
          this.notify();
        },
      },
      log,
    );
  }

  /** Resolves when everything that is recorded so far is known. */
  start(): Promise<void> {
    return (this.starting ??= this.feed.start());
  }

  stop(): Promise<void> {
    return this.feed.stop();
  }

  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** All studies, the latest first. */
  all(): StudyState[] {
    return this.feed.all().sort((left, right) => right.launchedAt.localeCompare(left.launchedAt));
  }

  /**
   * Finds a study by its id, its name, or the beginning of its id. @throws EspalierError FIELD_REQUIRED, STUDY_NOT_FOUND,
   * STUDY_ID_AMBIGUOUS
   */
  named(text: string): StudyState {
    return studyNamed(this.feed.all(), text);
  }

  find(studyId: string): Promise<StudyState | null> {
    return this.studies.find(studyId);
  }

  async change(studyId: string, change: StudyChange, options: ChangeOptions): Promise<{ study: StudyState; facts: NewStudyFact[] }> {
    const { state, facts } = await this.studies.change(studyId, change, options);
    if (facts.length > 0) await this.feed.seen(studyId, state.revision);
    return { study: state, facts };
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }
}
