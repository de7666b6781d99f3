// A run as its record was at an earlier revision: the record is read up to there and folded as the views fold it. What was recorded later
// changes nothing, so a report shows the same next year.
import { readPastDamage, EventCorruptError, type EventStore } from '#event-store';
import { invalidField } from '#protocol';
import { decodeStored, runStream } from '../pruning-run/record/stored-event.js';
import { detailWithoutStart, foldDamage, foldEvent, startDetail } from '../views/projection/run-detail.fold.js';
import { readSegments, stepsOf } from '../views/projection/metrics-reader.js';
import { firstStepOf, isActiveStep, summaryOf, type RunDetail, type RunSummary } from '../views/projection/run-detail.js';
import type { RunViews } from '../views/run-views.js';

/** An earlier revision never changes, so that of a report is read from the store once. */
const KEPT = 64;

export class RunsAt {
  private readonly kept = new Map<string, Promise<RunSummary>>();

  constructor(
    private readonly views: RunViews,
    private readonly store: EventStore,
  ) {}

  /**
   * @param revision undefined: as the run is now
   * @param field the field of the request, for errors
   * @throws EspalierError REVISION_NOT_FOUND
   */
  async of(runId: string, revision: bigint | undefined, field: string): Promise<RunSummary> {
    const now = this.views.summaryOf(await this.views.runId(runId, `${field}.run_id`));
    const { run } = now;
    if (revision === undefined || revision === BigInt(run.revision)) return now;
    if (revision > BigInt(run.revision))
      throw invalidField('REVISION_NOT_FOUND', `${field}.revision`, `0 to ${run.revision} is allowed for run ${run.runId}, is ${revision}`);
    const key = `${run.runId} ${revision}`;
    const known = this.kept.get(key) ?? this.read(run.runId, Number(revision));
    this.kept.delete(key);
    this.kept.set(key, known);
    known.catch(() => this.kept.delete(key));
    for (const oldest of this.kept.keys()) if (this.kept.size > KEPT) this.kept.delete(oldest);
    return known;
  }

  private async read(runId: string, revision: number): Promise<RunSummary> {
    let detail: RunDetail | null = null;
    for await (const item of readPastDamage(this.store, runStream(runId))) {
      const at = Number(item.revision);
      if (at > revision) break;
      if (item instanceof EventCorruptError) {
        detail ??= detailWithoutStart(runId);
        foldDamage(detail, { revision: at, metrics: false, problem: item.message });
        continue;
      }
      const event = decodeStored(item);
      if (detail === null) detail = startDetail(event) ?? detailWithoutStart(runId);
      else foldEvent(detail, event, at);
    }
    const summary = summaryOf(detail ?? detailWithoutStart(runId));
    summary.extras.lastStep = this.lastStepAt(summary, revision);
    return summary;
  }

  /** The last step that the record had at the revision. Its figures are in the stream of metrics, which the views have read. */
  private lastStepAt({ run, extras }: RunSummary, revision: number): RunSummary['extras']['lastStep'] {
    const step = (run.current?.step ?? 0) - 1;
    if (step < firstStepOf(run)) return null;
    let last: RunSummary['extras']['lastStep'] = null;
    for (const segment of readSegments(this.views.database, run.runId, { fromStep: step, toStep: step })) {
      if (segment.revision > revision) break;
      if (isActiveStep(extras.rewinds, segment.branch, step)) last = stepsOf(segment.rows).find((one) => one.step === step) ?? last;
    }
    return last;
  }
}
