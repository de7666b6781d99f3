// The knowledge of the views about one run: the aggregate's own state, so that no view can disagree with the rules, and facts that only
// readers need. It is plain data, stored as JSON and folded on from there.
import type { StepMeasurement } from '../../pruning-run/record/steps-measured.js';
import type { PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';

export interface Rewind {
  toStep: number;
  /** The first revision of the abandoned branch, which ends before `revision`. */
  abandonedFromRevision: number;
  revision: number;
}

export interface RunExtras {
  /** The time and size of the present phase's last segments, from which speed and remaining time follow. */
  recent: { seconds: number; tokens: number; steps: number }[];
  lastStep: StepMeasurement | null;
  /**
   * The last step of each metrics batch that no MasksUpdated has named yet. There may be several, since several segments are recorded at
   * once.
   */
  unnamed: { metricsRevision: number; step: StepMeasurement }[];
  rewinds: Rewind[];
  /** The number of events that this release does not know or could not read, by stored type. */
  unknownEvents: Record<string, number>;
  /** The events that the store could not read. */
  damage: DamagedEvent[];
}

export interface DamagedEvent {
  revision: number;
  /** Whether the damage is in a batch of the metrics stream. */
  metrics: boolean;
  problem: string;
}

/**
 * Tells whether an event of the run itself is lost, so that nothing can be decided on the rest. Lost metrics do not count, since no
 * decision needs them.
 */
export function isDamaged({ damage }: Pick<RunExtras, 'damage'>): boolean {
  return damage.some(({ metrics }) => !metrics);
}

/** Tells whether the run's first event is lost, so that its model, data and settings are not known. */
export function startIsLost({ damage }: Pick<RunExtras, 'damage'>): boolean {
  return damage.some(({ metrics, revision }) => !metrics && revision === 0);
}

export interface RunDetail {
  run: PruningRunState;
  extras: RunExtras;
}

/** The part of a detail that lists and messages read. Teachers and removed artifacts are left out; they have tables of their own. */
export interface RunSummary {
  run: Omit<PruningRunState, 'teachers' | 'abandonedTeachers' | 'discarded'>;
  extras: RunExtras;
  teacherCount: number;
}

export function summaryOf({ run, extras }: RunDetail): RunSummary {
  const { teachers, abandonedTeachers: _, discarded: _d, ...rest } = run;
  return { run: rest, extras, teacherCount: teachers.length };
}

/** The first step of the run itself: the step where it was forked, or 0. */
export function firstStepOf(run: Pick<PruningRunState, 'origin'>): number {
  return run.origin?.from.step ?? 0;
}

/** Tells whether an event lies on a branch that the run was rewound from. */
export function isAbandoned(rewinds: readonly Rewind[], revision: number): boolean {
  return rewinds.some((rewind) => revision >= rewind.abandonedFromRevision && revision < rewind.revision);
}

/**
 * Tells whether a step still belongs to the run: no later rewind went back to it or before it. `branch` is the number of rewinds before the
 * step was measured.
 */
export function isActiveStep(rewinds: readonly Rewind[], branch: number, step: number): boolean {
  for (let later = branch; later < rewinds.length; later += 1) {
    if (step >= rewinds[later]!.toStep) return false;
  }
  return true;
}
