// All parts that a check or a bundle of a run's record reads.
import { Inject, Injectable } from '@nestjs/common';
import type { ArtifactStore } from '#artifact-store';
import type { EventStore } from '#event-store';
import type { BorrowEngines } from '../engine-pool/verification-engine.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { StoreCondition } from '../storage/store-condition.js';
import { ARTIFACT_STORE, BORROW_ENGINES, EVENT_STORE } from '../provider-names.js';
import { RunViews } from '../views/run-views.js';
import type { VerifyContext } from './verify-context.js';

@Injectable()
export class Verification implements VerifyContext {
  constructor(
    @Inject(RunViews) readonly views: RunViews,
    @Inject(EVENT_STORE) readonly store: EventStore,
    @Inject(ARTIFACT_STORE) readonly artifacts: ArtifactStore,
    @Inject(BORROW_ENGINES) readonly borrowEngines: BorrowEngines,
    @Inject(RunRepository) readonly runs: RunRepository,
    @Inject(StoreCondition) readonly condition: StoreCondition,
  ) {}
}
