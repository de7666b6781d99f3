// Stored events to rows. A batch is applied in one transaction together with the position, so the file always shows the
// state after some whole number of events, whatever kills the process.
import { hasItsFields } from '#audit';
import type { Position, StoredEvent } from '#event-store';
import { ownEvents, ownMeasurements } from '../pruning-run/own-events.js';
import { decodeStepsMeasured, decodeStored, METRICS_STREAM_PREFIX, RUN_STREAM_PREFIX } from '../pruning-run/stored-event.js';
import type { RecordedEvent } from '../pruning-run/pruning-run.events.js';
import { firstStepOf, summaryOf, type RunDetail } from './run-detail.js';
import { foldEvent, foldMeasured, startDetail } from './run-detail.fold.js';
import { encodeSteps } from './metrics-codec.js';
import { NeededArtifacts } from './needed-artifacts.js';
import { prepareStatements, type Statements } from './projection-statements.js';
import { NO_PERPLEXITY, type ViewsDatabase } from './views-database.js';

const CACHED_RUNS = 4096;

export class RunProjection {
  private readonly statements: Statements;
  private readonly needed: NeededArtifacts;
  /** Folded runs, the least recently used first. */
  private readonly cache = new Map<string, RunDetail>();
  private changed = new Set<string>();

  constructor(private readonly database: ViewsDatabase) {
    this.statements = prepareStatements(database);
    this.needed = new NeededArtifacts(database);
  }

  /** Applies all events or none; returns the runs that changed. */
  apply(events: readonly StoredEvent[], position: Position | null): Set<string> {
    this.changed = new Set();
    try {
      this.database.transaction(() => {
        for (const event of events) this.applyOne(event);
        for (const runId of this.changed) this.save(runId, this.cache.get(runId)!);
        if (position !== null) {
          this.statements.savePosition.run(position.commit.toString(), position.prepare.toString(), events.length);
        }
        const last = events.at(-1);
        if (last !== undefined) this.statements.saveLast.run(last.stream, Number(last.revision), last.id);
      })();
    } catch (error) {
      this.cache.clear(); // folded further than what was stored
      throw error;
    }
    this.shrinkCache();
    return this.changed;
  }

  private applyOne(stored: StoredEvent): void {
    if (stored.stream.startsWith(RUN_STREAM_PREFIX)) {
      this.applyRunEvent(stored.stream.slice(RUN_STREAM_PREFIX.length), stored);
    } else if (stored.stream.startsWith(METRICS_STREAM_PREFIX)) {
      this.applyMetrics(stored.stream.slice(METRICS_STREAM_PREFIX.length), stored);
    }
  }

  private applyRunEvent(runId: string, stored: StoredEvent): void {
    const revision = Number(stored.revision);
    const event = readable(stored);
    let detail = this.load(runId);
    let known = true;
    if (detail === null) {
      detail = startDetail(event);
      if (detail === null) return; // nothing to show: a stream that doesn't begin with a run
      this.cache.set(runId, detail);
    } else {
      if (revision <= detail.run.revision) return; // delivered again
      known = foldEvent(detail, event, revision);
    }
    this.changed.add(runId);
    if (known) this.project(runId, detail, event, revision);
  }

  /** The rows beside the run's own. */
  private project(runId: string, detail: RunDetail, event: RecordedEvent, revision: number): void {
    switch (event.type) {
      case 'RunForked':
        for (const { mark, state, ownerRunId } of event.data.inheritedTeachers) {
          this.statements.addTeacher.run(runId, revision, mark, state.step, ownerRunId, state.expectedSparsity,
            state.hardSparsity, state.stateDigest, state.stateBytes, event.at, 1);
        }
        break;
      case 'TeacherSnapshotted': {
        const { mark, state } = event.data;
        this.statements.addTeacher.run(runId, revision, mark, state.step, runId, state.expectedSparsity,
          state.hardSparsity, state.stateDigest, state.stateBytes, event.at, 0);
        break;
      }
      case 'MasksUpdated':
        this.statements.addSegment.run(runId, revision, detail.extras.rewinds.length, event.data.firstStep, event.data.state.step,
          event.data.metricsRevision);
        break;
      case 'RunRewound':
        this.statements.abandonTeachers.run(runId, event.data.toStep);
        break;
      default:
    }
  }

  private applyMetrics(runId: string, stored: StoredEvent): void {
    if (stored.type !== 'StepsMeasured') return;
    try {
      const measured = ownMeasurements.find(stored) ?? decodeStepsMeasured(stored);
      const revision = Number(stored.revision);
      this.statements.addMetrics.run(runId, revision, measured.attempt, measured.branch, encodeSteps(measured.steps));
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
      this.cache.delete(runId); // and back in, as the youngest
    } else {
      const row = this.statements.loadDetail.get(runId) as { detail: string } | undefined;
      if (row === undefined) return null;
      detail = JSON.parse(row.detail) as RunDetail;
    }
    this.cache.set(runId, detail);
    return detail;
  }

  private save(runId: string, detail: RunDetail): void {
    const { run } = detail;
    const masked = run.evaluations.findLast((one) => one.subject === 'masked' && one.teacherMark === null);
    const updatedAtMs = Date.parse(run.updatedAt);
    const leaseMs = run.status === 'training' ? (run.engine?.leaseMs ?? null) : null;
    this.statements.saveRun.run(
      runId, run.name, run.status, run.pausedBy, run.model.path, run.origin?.parentRunId ?? null, firstStepOf(run),
      Date.parse(run.launchedAt), updatedAtMs, leaseMs === null ? null : updatedAtMs + leaseMs,
      masked?.perplexity ?? NO_PERPLEXITY, run.current?.hardSparsity ?? 0, run.settings.targetSparsity, run.revision);
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
 * Bytes that are no event at all, and events without the fields of their type, count as unknown: what is folded can be
 * relied on, and one damaged event can't keep a list of runs from being shown.
 */
function readable(stored: StoredEvent): RecordedEvent {
  const own = ownEvents.find(stored);
  if (own !== null) return own;
  try {
    const event = decodeStored(stored);
    const { type, at, v, chain, data } = event;
    if (type === 'Unknown' || hasItsFields(type, { ...data, at, v, chain })) return event;
    return { type: 'Unknown', storedType: stored.type, at, v, chain, data: {} };
  } catch {
    return { type: 'Unknown', storedType: stored.type, at: '', v: 0, chain: '', data: {} };
  }
}
