import type { ArtifactStore } from '#artifact-store';
import type { EventStore } from '#event-store';
import type { v1 } from '#protocol';
import type { RunRepository } from '../pruning-run/run-repository.js';
import type { StoreCondition } from '../storage/store-condition.js';
import type { RunViews } from '../views/run-views.js';
import type { BorrowEngines } from '../engine-pool/verification-engine.js';

export interface VerifyContext {
  views: RunViews;
  store: EventStore;
  artifacts: ArtifactStore;
  borrowEngines: BorrowEngines;
  runs: Pick<RunRepository, 'change'>;
  condition: Pick<StoreCondition, 'missing'>;
}

/** Makes a verdict and counts it. */
export type MakeVerdict = (check: string, subject: string, ok: boolean, detail: string, doneShare: number) => v1.VerifyRunResponse;
