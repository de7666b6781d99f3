// Turns the stored events of runs, and their metrics, into rows.
import { hasItsFields } from '#audit';
import { EventCorruptError, type StoredEvent } from '#event-store';
import { Projection, type RecordItem } from '../../event-sourcing/read-models/projection.js';
import type { ViewsDatabase } from '../../event-sourcing/read-models/views-file.js';
import { ownEvents, ownMeasurements } from '../../pruning-run/record/own-events.js';
import {
  decodeStepsMeasured,
  decodeStored,
  METRICS_STREAM_PREFIX,
  RUN_STREAM_PREFIX,
  runIdOf,
} from '../../pruning-run/record/stored-event.js';
import { headlineOf } from '../../pruning-run/aggregate/headline.js';
import type { RecordedEvent, StateFact } from '../../pruning-run/record/pruning-run.events.js';
import type { StepMeasurement } from '../../pruning-run/record/steps-measured.js';
import { firstStepOf, isDamaged, summaryOf, type RunDetail } from './run-detail.js';
import { detailWithoutStart, foldDamage, foldEvent, foldMeasured, startDetail } from './run-detail.fold.js';
import { encodeSteps } from './metrics-codec.js';
import { encodeSized, shareGone } from '../../pruning-run/planning/result-size.js';
import { readRows, stepsOf } from './metrics-reader.js';
import { NeededArtifacts } from './needed-artifacts.js';
import { prepareStatements, type Statements } from './projection-statements.js';
import { NO_PERPLEXITY } from './views-schema.js';

const CACHED_RUNS = 4096;

export class RunProjection extends Projection {
  readonly streamPrefixes = [RUN_STREAM_PREFIX, METRICS_STREAM_PREFIX];
  private readonly statements: Statements;
  private readonly needed: NeededArtifacts;
  /** The folded runs, the least recently used first. */
  private readonly cache = new Map<string, RunDetail>();
  private changed = new Set<string>();
  /** Streams that don't begin with a run and have nothing to show. */
  private readonly notRuns = new Set<string>();

  constructor(database: ViewsDatabase) {
    super(database);
    this.statements = prepareStatements(database);
    this.needed = new NeededArtifacts(database);
  }

  /** The events of a segment come directly after its measured steps. */
  override hasMoreToCome({ type }: StoredEvent): boolean {
    return type === 'StepsMeasured';
  }

  protected override applyOne(item: RecordItem): void {
    if (item instanceof EventCorruptError) this.applyDamage(item);
    else if (item.stream.startsWith(RUN_STREAM_PREFIX)) this.applyRunEvent(runIdOf(item), item);
    else this.applyMetrics(item.stream.slice(METRICS_STREAM_PREFIX.length), item);
  }

  protected override save(): Set<string> {
    const changed = this.changed;
    this.changed = new Set();
    for (const runId of changed) this.saveRun(runId, this.cache.get(runId)!);
    this.shrinkCache();
    return changed;
  }

  protected override forget(): void {
    this.cache.clear();
    this.changed = new Set();
  }

  /** Tells whether the projection has passed this event of its run. */
  override hasPassed(event: EventCorruptError): boolean {
    return (this.load(runIdOf(event))?.run.revision ?? -1) >= Number(event.revision);
  }

  private applyRunEvent(runId: string, stored: StoredEvent): void {
    const revision = Number(stored.revision);
    const event = readable(stored);
    let detail = this.load(runId);
    let known = true;
    if (detail === null && revision === 0) {
      detail = startDetail(event);
      if (detail === null) return void this.notRuns.add(runId);
      this.cache.set(runId, detail);
    } else {
      if (this.notRuns.has(runId)) return;
      detail ??= this.withoutStart(runId);
      if (revision <= detail.run.revision) return; // the event was delivered before
      for (let missing = detail.run.revision + 1; missing < revision; missing += 1) {
        foldDamage(detail, { revision: missing, metrics: false, problem: `event ${missing} is missing` });
      }
      const span = detail.run.attemptSpan;
      known = foldEvent(detail, event, revision);
      if (detail.run.attemptSpan !== span) this.saveAttempt(detail.run);
    }
    this.changed.add(runId);
    if (known) this.project(runId, detail, event, revision);
  }

  private applyDamage({ stream, revision, message: problem }: EventCorruptError): void {
    const metrics = stream.startsWith(METRICS_STREAM_PREFIX);
    const runId = stream.slice((metrics ? METRICS_STREAM_PREFIX : RUN_STREAM_PREFIX).length);
    const detail = this.load(runId) ?? (metrics ? null : this.withoutStart(runId));
    if (detail === null) return;
    foldDamage(detail, { revision: Number(revision), metrics, problem });
    this.changed.add(runId);
  }

  private withoutStart(runId: string): RunDetail {
    const detail = detailWithoutStart(runId);
    this.cache.set(runId, detail);
    return detail;
  }

  private saveAttempt({ runId, attempt, attemptSpan: span, launchedBy }: RunDetail['run']): void {
    if (span === null) return;
    const endedMs = span.endedAt === null ? null : Date.parse(span.endedAt) || 0;
    this.statements.saveAttempt.run(runId, attempt, launchedBy ?? '', Date.parse(span.startedAt) || 0, endedMs);
  }

  /** Writes the rows beside the run's own. */
  private project(runId: string, detail: RunDetail, event: RecordedEvent, revision: number): void {
    const addTeacher = (mark: number, state: StateFact, ownerRunId: string): void => {
      const { step, expectedSparsity, hardSparsity, stateDigest, stateBytes } = state;
      const inherited = event.type === 'RunForked' ? 1 : 0;
      const sparsity = [expectedSparsity, hardSparsity] as const;
      const about = [stateDigest, stateBytes, event.at, inherited, encodeSized(state)] as const;
      this.statements.addTeacher.run(runId, revision, mark, step, ownerRunId, ...sparsity, ...about);
    };
    switch (event.type) {
      case 'RunForked':
        for (const { mark, state, ownerRunId } of event.data.inheritedTeachers) addTeacher(mark, state, ownerRunId);
        break;
      case 'TeacherSnapshotted':
        addTeacher(event.data.mark, event.data.state, runId);
        break;
      case 'MasksUpdated':
        this.statements.addSegment.run(
          runId,
          revision,
          detail.extras.rewinds.length,
          event.data.firstStep,
          event.data.state.step,
          event.data.metricsRevision,
          event.data.state.hardSparsity,
          event.data.state.size.parameterCount,
          Date.parse(event.at) || 0,
        );
        break;
      case 'RunRewound':
        this.statements.abandonTeachers.run(runId, event.data.toStep);
        detail.extras.lastStep ??= this.stepBefore(runId, detail, event.data.toStep);
        break;
      case 'ArtifactsDiscarded':
      case 'RunDeleted':
        for (const { digest, kind } of event.data.artifacts) {
          this.statements.addDiscarded.run(digest, runId, revision, kind, event.data.reason);
          if (kind === 'state') this.statements.discardTeachers.run(runId, digest);
        }
        break;
      default:
    }
  }

  /** The recorded step after which a rewound run goes on. Null where it goes on from its start, or where another run trained that step. */
  private stepBefore(runId: string, { extras }: RunDetail, toStep: number): StepMeasurement | null {
    return stepsOf(readRows(this.database, runId, extras.rewinds, { fromStep: toStep - 1, toStep: toStep - 1 })).at(-1) ?? null;
  }

  private applyMetrics(runId: string, stored: StoredEvent): void {
    if (stored.type !== 'StepsMeasured') return;
    try {
      const measured = ownMeasurements.find(stored) ?? decodeStepsMeasured(stored);
      const revision = Number(stored.revision);
      this.statements.addMetrics.run(runId, revision, measured.attempt, measured.branch, encodeSteps(measured.steps));
      const { closedBefore = null, changed } = measured.masks;
      this.statements.addMasks.run(runId, revision, closedBefore, changed);
      const detail = this.load(runId);
      if (detail === null) return;
      foldMeasured(detail, measured, revision);
      this.changed.add(runId);
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error;
    }
  }

  private load(runId: string): RunDetail | null {
    let detail = this.cache.get(runId) ?? null;
    if (detail !== null) {
      this.cache.delete(runId); // put back as the youngest
    } else {
      const row = this.statements.loadDetail.get(runId) as { detail: string } | undefined;
      if (row === undefined) return null;
      detail = JSON.parse(row.detail) as RunDetail;
    }
    this.cache.set(runId, detail);
    return detail;
  }

  private saveRun(runId: string, detail: RunDetail): void {
    const { run } = detail;
    const updatedAtMs = Date.parse(run.updatedAt) || 0;
    const leaseMs = run.status === 'training' ? (run.engine?.leaseMs ?? null) : null;
    this.statements.saveRun.run(
      runId,
      run.name,
      isDamaged(detail.extras) ? 'damaged' : run.status,
      run.pausedBy,
      run.model.path,
      run.origin?.parentRunId ?? null,
      firstStepOf(run),
      Date.parse(run.launchedAt) || 0,
      updatedAtMs,
      leaseMs === null ? null : updatedAtMs + leaseMs,
      headlineOf(run)?.value ?? NO_PERPLEXITY,
      shareGone(run) ?? 0,
      run.settings.targetSparsity,
      run.revision,
      JSON.stringify(run.tags),
    );
    this.needed.save(detail);
    this.statements.saveDetail.run(runId, JSON.stringify(detail), JSON.stringify(summaryOf(detail)));
  }

  private shrinkCache(): void {
    for (const runId of this.cache.keys()) {
      if (this.cache.size <= CACHED_RUNS) return;
      this.cache.delete(runId);
    }
  }
}

/**
 * Reads an event. Bytes that are not an event, and events without the fields of their type, count as unknown. So folded events can be
 * relied on, and one damaged event can't keep a list of runs from being shown.
 */
function readable(stored: StoredEvent): RecordedEvent {
  const own = ownEvents.find(stored);
  if (own !== null) return own;
  try {
    const event = decodeStored(stored);
    const { type, at, v, chain } = event;
    if (type === 'Unknown' || hasItsFields(type, event)) return event;
    return { type: 'Unknown', storedType: stored.type, at, v, chain, data: {} };
  } catch {
    return { type: 'Unknown', storedType: stored.type, at: '', v: 0, chain: '', data: {} };
  }
}
