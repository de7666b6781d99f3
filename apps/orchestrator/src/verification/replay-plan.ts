// What a run's record says must be computed again, and from where: pure, from the events alone.
import type { RecordedEvent, RunSettings, TeacherChoice } from '../pruning-run/pruning-run.events.js';
import { evolve, type PruningRunState } from '../pruning-run/pruning-run.js';
import { planSegment, type SegmentPlan } from '../pruning-run/segment-plan.js';
import { loraLearningRate, scheduledSparsity } from '../pruning-run/sparsity-schedule.js';

export interface ReplaySegment {
  revision: number;
  firstStep: number;
  endStep: number;
  /** Null: the fresh state of the seed. */
  startDigest: string | null;
  endDigest: string;
  teacher: TeacherChoice;
  losses: SegmentPlan['losses'];
  loraLearningRates: number[];
  scheduledSparsities: number[];
  settings: RunSettings;
  numericsFingerprint: string;
  threads: number;
  metricsRevision: number;
}

/** Folds one event after the other; `segments` are those of the branches that were not abandoned so far. */
export class ReplayPlanner {
  run: PruningRunState | null = null;
  segments: ReplaySegment[] = [];

  push(event: RecordedEvent, revision: number): void {
    const { run } = this;
    if (event.type === 'MasksUpdated' && run !== null && run.engine !== null) {
      this.segments.push(segmentOf(run, event, revision));
    } else if (event.type === 'RunRewound') {
      this.segments = this.segments.filter(({ endStep }) => endStep <= event.data.toStep);
    }
    this.run = evolve(run, event);
  }

  /** Segments that hold any step of [fromStep, toStep]. */
  within(fromStep: number, toStep: number): ReplaySegment[] {
    return this.segments.filter(({ firstStep, endStep }) => firstStep <= toStep && endStep > fromStep);
  }
}

function segmentOf(run: PruningRunState, event: RecordedEvent & { type: 'MasksUpdated' }, revision: number): ReplaySegment {
  const { firstStep, state, metricsRevision } = event.data;
  const steps = Array.from({ length: state.step - firstStep }, (_, index) => firstStep + index);
  return {
    revision, firstStep, endStep: state.step, startDigest: run.current?.stateDigest ?? null, endDigest: state.stateDigest,
    teacher: run.assignment?.teacher ?? { kind: 'intact' }, losses: planSegment(run).losses,
    loraLearningRates: steps.map((step) => loraLearningRate(run.settings, step)),
    scheduledSparsities: steps.map((step) => scheduledSparsity(run.settings, step)),
    settings: run.settings, numericsFingerprint: run.engine!.numericsFingerprint, threads: run.engine!.threads, metricsRevision,
  };
}
