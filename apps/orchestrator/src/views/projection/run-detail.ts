// The views' knowledge of one run: the aggregate's own state (so that no view can disagree with the rules) and what
// only readers need. Plain data, stored as JSON and folded on from there.
import type { StepMeasurement } from '../../pruning-run/record/steps-measured.js';
import type { PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';

export interface Rewind {
  toStep: number;
  /** Events from here up to `revision` are the abandoned branch. */
  abandonedFromRevision: number;
  revision: number;
}

export interface RunExtras {
  /** Time and size of the last segments, for speed and remaining time. */
  recent: { seconds: number; tokens: number; steps: number }[];
  lastStep: StepMeasurement | null;
  /** The last step of each metrics batch that no MasksUpdated has named yet: several segments are recorded at once. */
  unnamed: { metricsRevision: number; step: StepMeasurement }[];
  rewinds: Rewind[];
  /** Events that this release does not know or could not read, by stored type. */
  unknownEvents: Record<string, number>;
  /** Events that the store could not read. */
  damage: DamagedEvent[];
}

export interface DamagedEvent {
  revision: number;
  /** A batch of the metrics stream. */
  metrics: boolean;
  problem: string;
}

/** Whether an event of the run itself is lost: nothing can be decided on what is left. Lost metrics decide nothing. */
export function isDamaged({ damage }: Pick<RunExtras, 'damage'>): boolean {
  return damage.some(({ metrics }) => !metrics);
}

/** Whether what began the run is lost: its model, data and settings are not known. */
export function startIsLost({ damage }: Pick<RunExtras, 'damage'>): boolean {
  return damage.some(({ metrics, revision }) => !metrics && revision === 0);
}

export interface RunDetail {
  run: PruningRunState;
  extras: RunExtras;
}

/** The part that lists and messages read. Teachers and discarded artifacts are not in it; they have tables of their own. */
export interface RunSummary {
  run: Omit<PruningRunState, 'teachers' | 'abandonedTeachers' | 'discarded'>;
  extras: RunExtras;
  teacherCount: number;
}

export function summaryOf({ run, extras }: RunDetail): RunSummary {
  const { teachers, abandonedTeachers: _, discarded: _d, ...rest } = run;
  return { run: rest, extras, teacherCount: teachers.length };
}

/** First step of the run's own: where it was forked, or 0. */
export function firstStepOf(run: Pick<PruningRunState, 'origin'>): number {
  return run.origin?.from.step ?? 0;
}

/** Whether an event lies on a branch that the run was rewound from. */
export function isAbandoned(rewinds: readonly Rewind[], revision: number): boolean {
  return rewinds.some((rewind) => revision >= rewind.abandonedFromRevision && revision < rewind.revision);
}

/**
 * Whether a step measured on a branch (number of rewinds before it) still belongs to the run: no later rewind went back
 * to it or before it.
 */
export function isActiveStep(rewinds: readonly Rewind[], branch: number, step: number): boolean {
  for (let later = branch; later < rewinds.length; later += 1) {
    if (step >= rewinds[later]!.toStep) return false;
  }
  return true;
}
