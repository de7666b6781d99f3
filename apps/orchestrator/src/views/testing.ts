// For tests: facts as the event store would deliver them, with metrics for each segment, and an empty file of views.
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allGates, gatesDigest, STEPS_MEASURED_VERSION } from '#audit';
import type { NewEvent, StoredEvent } from '#event-store';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import { eventId } from '../event-sourcing/event-ids.js';
import type { NewFact, PruningRunEventData } from '../pruning-run/record/pruning-run.events.js';
import type { StepMeasurement } from '../pruning-run/record/steps-measured.js';
import { encodeFacts, encodeStepsMeasured, METRICS_STREAM_PREFIX, RUN_STREAM_PREFIX } from '../pruning-run/record/stored-event.js';
import type { ViewsDatabase } from '../event-sourcing/read-models/views-file.js';
import { model } from '../pruning-run/testing.js';
import { gateCount } from '../queries/masks/query-masks.js';
import { openViewsDatabase } from './projection/views-schema.js';

/** The masks of a segment that closes nothing, in the model of pruning-run/testing.ts. */
const ALL_OPEN = gatesDigest(allGates(gateCount(model)));

export function stepMeasured(step: number, loss = 1 / (step + 1)): StepMeasurement {
  return {
    step,
    loss,
    layerLoss: loss / 2,
    klLoss: loss / 2,
    lmLoss: null,
    lagrangian: 0,
    scheduledSparsity: step / 1000,
    expectedSparsity: step / 1000,
    gradientNorm: 1,
    lambda1: 0,
    lambda2: 0,
    seconds: 0.1,
    skipped: false,
    openHeads: 24,
    openUnits: 480,
    openHidden: 64,
    teacherMark: null,
  };
}

/** Builds the stored events of runs. Their positions are in the order of the calls. */
export class Recorder {
  readonly events: StoredEvent[] = [];

  constructor(private readonly measured: (step: number) => StepMeasurement = stepMeasured) {}

  private readonly heads = new Map<string, { revision: number; metricsRevision: number; chain: string; branch: number }>();

  /** Adds facts. A MasksUpdated gets its batch of metrics before it, as the product writes them. */
  record(runId: string, facts: readonly NewFact[]): this {
    const head = this.heads.get(runId) ?? { revision: -1, metricsRevision: -1, chain: '', branch: 0 };
    this.heads.set(runId, head);
    for (const fact of facts) {
      const whole = fact.type === 'MasksUpdated' ? { ...fact, data: this.measure(runId, fact.data, head) } : fact;
      if (fact.type === 'RunRewound') head.branch += 1;
      const { stored, events } = encodeFacts([whole], head.chain, () => randomUUID());
      head.chain = events[0]!.chain;
      head.revision += 1;
      this.push(RUN_STREAM_PREFIX + runId, head.revision, stored[0]!);
    }
    return this;
  }

  raw(runId: string, type: string, data: Uint8Array): this {
    const head = this.heads.get(runId)!;
    head.revision += 1;
    this.push(RUN_STREAM_PREFIX + runId, head.revision, { id: randomUUID(), type, data });
    return this;
  }

  private measure(
    runId: string,
    fact: PruningRunEventData<'MasksUpdated'>,
    head: { metricsRevision: number; branch: number },
  ): PruningRunEventData<'MasksUpdated'> {
    const steps = Array.from({ length: fact.state.step - fact.firstStep }, (_, index) => this.measured(fact.firstStep + index));
    const id = eventId(runId, 'metrics', head.branch, fact.attempt, fact.firstStep);
    const batch = encodeStepsMeasured(
      {
        v: STEPS_MEASURED_VERSION,
        at: '2026-01-02T03:04:05.678Z',
        attempt: fact.attempt,
        branch: head.branch,
        masks: { closedBefore: '', changed: '' },
        steps,
      },
      id,
    );
    head.metricsRevision += 1;
    this.push(METRICS_STREAM_PREFIX + runId, head.metricsRevision, batch);
    return { ...fact, metricsRevision: head.metricsRevision, metricsDigest: sha256Hex(batch.data), openDigest: ALL_OPEN };
  }

  private push(stream: string, revision: number, { id, type, data }: NewEvent): void {
    const at = BigInt(this.events.length + 1) * 100n;
    this.events.push({
      id,
      stream,
      revision: BigInt(revision),
      type,
      data,
      metadata: new Uint8Array(),
      position: { commit: at, prepare: at },
      createdAt: new Date(0),
    });
  }
}

export function withDatabase(): { database: ViewsDatabase; close(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'views-'));
  const database = openViewsDatabase(join(folder, 'views.sqlite'));
  return {
    database,
    close: () => {
      database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** All rows of all tables but the position. Two ways of building the views must agree on them. */
export function contentOf(database: ViewsDatabase): Record<string, unknown[]> {
  const tables = ['runs', 'run_details', 'teachers', 'segments', 'metrics', 'mask_changes', 'needed_artifacts', 'discarded_artifacts'];
  return Object.fromEntries(tables.map((table) => [table, database.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all()]));
}
