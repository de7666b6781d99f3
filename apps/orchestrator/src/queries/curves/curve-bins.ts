// Keeps the metrics of the runs that clients watch, summed up in bins of a number of steps. A curve over a million steps then need not
// read a million rows, and while a run goes on only its new rows are read.
import { setImmediate as breathe } from 'node:timers/promises';
import { segmentsAfter } from '../../views/projection/metrics-reader.js';
import { isActiveStep, type RunSummary } from '../../views/projection/run-detail.js';
import type { RunViews } from '../../views/run-views.js';
import { CurvePoints } from './curve-points.js';

export const BIN_STEPS = 64;
/** The number of runs that are kept. A run of a million steps takes 8 MB. */
const RUNS_KEPT = 24;
/** The number of segments in one read. Between two reads the process does its other work. */
const SEGMENTS_PER_READ = 64;

interface Binned {
  points: CurvePoints;
  revision: number;
  rewinds: number;
  /** The read that comes last. The next one goes on where it ends. */
  reading: Promise<void>;
}

export class CurveBins {
  private readonly kept = new Map<string, Binned>();

  /** The points of all recorded steps of a run's present branch. */
  async of(views: RunViews, { run, extras }: RunSummary, signal: AbortSignal): Promise<CurvePoints> {
    const { runId } = run;
    let binned = this.kept.get(runId);
    // A rewind abandons steps that are in the bins, so the bins are made again.
    if (binned?.rewinds !== extras.rewinds.length)
      binned = { points: new CurvePoints(BIN_STEPS), revision: -1, rewinds: extras.rewinds.length, reading: Promise.resolve() };
    this.kept.delete(runId);
    this.kept.set(runId, binned);
    for (const oldest of this.kept.keys()) if (this.kept.size > RUNS_KEPT) this.kept.delete(oldest);
    const { points } = binned;
    binned.reading = binned.reading.catch(() => undefined).then(() => this.readOn(views, binned, { run, extras }, signal));
    await binned.reading;
    return points;
  }

  private async readOn(
    views: RunViews,
    binned: Binned,
    { run, extras }: Pick<RunSummary, 'run' | 'extras'>,
    signal: AbortSignal,
  ): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      const segments = segmentsAfter(views.database, run.runId, binned.revision, SEGMENTS_PER_READ);
      for (const segment of segments) {
        binned.points.add(run, segment, (step) => isActiveStep(extras.rewinds, segment.branch, step));
        binned.revision = segment.revision;
      }
      if (segments.length < SEGMENTS_PER_READ) return;
      await breathe();
    }
  }
}
