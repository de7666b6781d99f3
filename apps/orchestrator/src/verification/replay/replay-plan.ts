// Finds from a run's events alone which steps have to be computed again, and from which states. All functions are pure.
import type { LayerScan, RecordedEvent, RunSettings } from '../../pruning-run/record/pruning-run.events.js';
import { evolve, stepOf, type PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import { lossesAt } from '../../pruning-run/method/phases.js';
import type { SegmentPlan, TeacherStretch } from '../../pruning-run/planning/segment-plan.js';
import { stepTargets } from '../../pruning-run/method/sparsity-schedule.js';

export interface ReplaySegment {
  revision: number;
  firstStep: number;
  endStep: number;
  /** Null for the fresh state that follows from the seed. */
  startDigest: string | null;
  endDigest: string;
  stretches: TeacherStretch[];
  losses: SegmentPlan['losses'];
  loraLearningRates: number[];
  scheduledSparsities: number[];
  settings: RunSettings;
  numericsFingerprint: string;
  /** The name of the device that computed the segment. */
  device: string;
  threads: number;
  /** The name of the slot of that engine. */
  engineName: string;
  metricsRevision: number;
  /** The layers that the segment scored. */
  scans: LayerScan[];
}

/** Folds one event after another. `segments` are those of branches that have not been abandoned so far. */
export class ReplayPlanner {
  run: PruningRunState | null = null;
  segments: ReplaySegment[] = [];
  /** The teachers recorded since the last segment, each with its first step. Before them stands the teacher of the last segment. */
  private stretches: TeacherStretch[] = [];

  push(event: RecordedEvent, revision: number): void {
    const { run } = this;
    // Where events before it are damaged, it is not known from which state a segment started.
    if (event.type === 'MasksUpdated' && run !== null && run.engine !== null && event.data.firstStep === stepOf(run)) {
      this.segments.push(segmentOf(run, this.stretches, event, revision));
      this.stretches = this.stretches.slice(-1);
    } else if (event.type === 'TeacherAssigned') {
      this.stretches.push({ firstStep: event.data.fromStep, teacher: event.data.teacher });
    } else if (event.type === 'RunRewound') {
      this.segments = this.segments.filter(({ endStep }) => endStep <= event.data.toStep);
      this.stretches = [];
    }
    this.run = evolve(run, event);
  }

  /** The segments with any step from `fromStep` to `toStep`, both included. */
  segmentsBetween(fromStep: number, toStep: number): ReplaySegment[] {
    return this.segments.filter(({ firstStep, endStep }) => firstStep <= toStep && endStep > fromStep);
  }
}

function segmentOf(
  run: PruningRunState,
  recorded: TeacherStretch[],
  event: RecordedEvent & { type: 'MasksUpdated' },
  revision: number,
): ReplaySegment {
  const { firstStep, state, metricsRevision } = event.data;
  const { engine } = run;
  if (engine === null) throw new TypeError(`no engine was attached before event ${revision}`);
  const { numericsFingerprint, backend: device, threads, engineName } = engine;
  return {
    revision,
    firstStep,
    endStep: state.step,
    startDigest: run.current?.stateDigest ?? null,
    endDigest: state.stateDigest,
    stretches: stretchesFrom(firstStep, recorded),
    losses: lossesAt(run.settings, firstStep),
    ...stepTargets(run.settings, firstStep, state.step),
    settings: run.settings,
    numericsFingerprint,
    device,
    threads,
    engineName,
    metricsRevision,
    scans: run.scans.filter(({ layer }) => layer >= firstStep && layer < state.step),
  };
}

/** The teacher that instructs at `firstStep`, then those that take over later. */
export function stretchesFrom(firstStep: number, recorded: TeacherStretch[]): TeacherStretch[] {
  const at = recorded.findLast((one) => one.firstStep <= firstStep);
  return [{ firstStep, teacher: at?.teacher ?? { kind: 'intact' } }, ...recorded.filter((one) => one.firstStep > firstStep)];
}

type SegmentPart = Pick<ReplaySegment, 'firstStep' | 'losses' | 'loraLearningRates' | 'scheduledSparsities'> & {
  stretches: [TeacherStretch];
  isLast: boolean;
};

/** The parts of the segment, cut where its teacher changes. Cuts do not change the result of steps. */
export function partsOf({ firstStep, endStep, stretches, losses, loraLearningRates, scheduledSparsities }: ReplaySegment): SegmentPart[] {
  return stretches.map((stretch, index) => {
    const next = stretches[index + 1]?.firstStep ?? endStep;
    const steps = [stretch.firstStep - firstStep, next - firstStep] as const;
    return {
      firstStep: stretch.firstStep,
      losses,
      loraLearningRates: loraLearningRates.slice(...steps),
      scheduledSparsities: scheduledSparsities.slice(...steps),
      stretches: [stretch],
      isLast: next === endStep,
    };
  });
}
