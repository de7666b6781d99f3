// The state that the events of a run add up to. It is plain data: views fold events with the same `evolve` and copy its fields.
import type { ReplayedSteps } from '#audit';
import type { SettingName } from '#protocol';
import type {
  Budget,
  DataIdentity,
  DiscardedArtifact,
  LayerScan,
  ModelIdentity,
  PhaseKind,
  PruningRunEventData,
  RunSettings,
  StateFact,
  TeacherChoice,
  TeacherReason,
} from '../record/pruning-run.events.js';
import type { Phase } from '../method/phases.js';
import { artifactOf } from '../record/measures.js';
import type { TeacherSnapshot } from '../method/teacher-policy.js';
import { tokenShards } from '../record/training-tokens.js';

export type RunStatus = 'queued' | 'preparing' | 'training' | 'paused' | 'restarting' | 'completed' | 'failed' | 'cancelled' | 'deleted';

export interface Teacher extends TeacherSnapshot {
  state: StateFact;
  /** The revision of the event that recorded the teacher, or null for a teacher that a fork inherited. */
  revision: number | null;
  ownerRunId: string;
  /** The number of rewinds before the snapshot was taken. */
  branch: number;
  at: string;
}

/** An evaluation. It is abandoned if its state lies on a branch that the run was rewound from. */
export type RecordedEvaluation = PruningRunEventData<'EvaluationRecorded'> & { at: string; abandoned: boolean };
export type RecordedSpeed = PruningRunEventData<'SpeedRecorded'> & { at: string; abandoned: boolean };
export type RecordedExport = PruningRunEventData<'ModelExported'> & { at: string; abandoned: boolean };

/** An artifact that a user had removed, and the revision of the event that records the removal. */
export interface KnownDiscard {
  kind: DiscardedArtifact['kind'];
  digest: string;
  marks: number[];
  step: number | null;
  reason: string;
  revision: number;
}

interface RunOrigin {
  parentRunId: string;
  parentRevision: number;
  from: StateFact;
  teacherMark: number | null;
}

export interface PruningRunState {
  runId: string;
  name: string;
  tags: string[]; // in alphabetical order
  note: string;
  requestId: string;
  requestDigest: string;
  model: ModelIdentity;
  data: DataIdentity;
  settings: RunSettings;
  /** The settings that follow from the steps, as long as the steps of a run with a time are not chosen. */
  following?: SettingName[];
  /** Absent where the run's target is a sparsity. */
  budget?: Budget;
  /** The planned phases, in order. Steps count through all of them. */
  phases: Phase[];
  /** The phase of the last recorded step, or the next phase if that has started since. */
  phase: PhaseKind;
  origin: RunOrigin | null;

  /** The seconds in which the model and the text were read. */
  preparationSeconds: number;
  status: RunStatus;
  failure: { code: string; message: string; field: string } | null; // why the last attempt or the run failed
  pauseRequested: boolean;
  pausedBy: 'request' | 'shutdown' | 'obstacle' | null;

  /** The last recorded state, or null before the first. */
  current: StateFact | null;
  /** The digest of the gates that the masks of the current state leave open, or null before the first segment of the branch. */
  openDigest: string | null;
  /** The recorded state before `current`. The run can go on from it if the artifact of `current` is damaged. */
  previous: StateFact | null;
  teachers: Teacher[]; // on the current branch, least pruned first
  abandonedTeachers: Teacher[];
  /** The layers that a scan has scored, in the order of its steps. */
  scans: LayerScan[];
  /** The digest of the last state of each abandoned branch. */
  abandonedStates: string[];
  /** The steps of the current branch that were computed twice. */
  replays: ReplayedSteps[];
  assignment: { phase: PhaseKind; teacher: TeacherChoice; fromStep: number; reason: TeacherReason; explanation: string } | null;
  targetReachedStep: number | null;
  targetReachedAt: string | null;
  scheduledSparsity: number;
  /** The number of rewinds. branches[n] tells at which step branch n + 1 begins, and which branch it left. */
  branch: number;
  branches: { parentBranch: number; fromStep: number }[];

  /** Runs of a higher priority get an engine first. */
  priority: number;
  attempt: number;
  attemptOpen: boolean;
  /** The time of the last attempt, or null before the first. An attempt has its engine from its start to its end. */
  attemptSpan: { startedAt: string; endedAt: string | null } | null;
  /** The seconds in which the ended attempts had an engine. */
  engineSeconds: number;
  restarts: number;
  attemptsWithoutProgress: number;
  /** The furthest step that attempts reached after the current state without recording it; 0 if no attempt got beyond it. */
  furthestStep: number;
  /** The ISO time before which no new attempt starts, or null where the next may start at once. */
  restartNotBefore: string | null;
  /** The revision of the first event of the last segment. */
  segmentRevision: number;
  engine: PruningRunEventData<'EngineAttached'> | null;
  /** The numerics of the last engine that trained the run or was to train it. */
  numericsFingerprint: string | null;
  acceptOtherNumerics: boolean;

  skippedSteps: number;
  /**
   * The steps that were skipped since `fromStep`. This is the step of the launch or of the last rewind or resume, or lies
   * SKIPS_REMEMBERED_STEPS before the end of the last segment.
   */
  latestSkips: { fromStep: number; steps: number[] };
  trainingSeconds: number;
  lastSegment: { steps: number; tokens: number; seconds: number } | null;
  evaluations: RecordedEvaluation[];
  speeds: RecordedSpeed[];
  exports: RecordedExport[];
  discarded: KnownDiscard[];
  deleted: { at: string; reason: string } | null;

  launchedAt: string;
  /** The user whose call launched or forked the run, or null where the event does not say. */
  launchedBy: string | null;
  /** The user's name at that time, if the user is a person who had logged in. */
  launchedByName?: string;
  updatedAt: string;
  endedAt: string | null;
  /** The revision of the last event that was folded. */
  revision: number;
  chain: string;
}

export const isFinished = ({ status }: Pick<PruningRunState, 'status'>): boolean =>
  status === 'completed' || status === 'failed' || status === 'cancelled' || status === 'deleted';

/** Tells whether the run's model and text were read. */
export const isPrepared = ({ data }: Pick<PruningRunState, 'data'>): boolean => data.trainDigest !== '';

/** Tells whether the steps have to be chosen by measured rates before the run can be trained. */
export const waitsForSteps = ({ following }: Pick<PruningRunState, 'following'>): boolean => following !== undefined;

/** The status of a run while no engine works for it. */
export const idleStatus = (run: Pick<PruningRunState, 'data'>): RunStatus => (isPrepared(run) ? 'queued' : 'preparing');

/** Tells whether the driver works on the run now or will when its turn comes. A run that a shutdown paused goes on by itself. */
export const isRunnable = (run: Pick<PruningRunState, 'status' | 'pausedBy'>): boolean =>
  !isFinished(run) && (run.status !== 'paused' || run.pausedBy === 'shutdown');

export const stepOf = (run: Pick<PruningRunState, 'current'>): number => run.current?.step ?? 0;

/** The teachers that a fork from `teacher` inherits: all on its branch up to and including it. */
export function teachersUpTo(run: PruningRunState, teacher: Teacher): Teacher[] {
  const limitByBranch = new Map<number, number>();
  let limit = teacher.state.step;
  for (let branch = teacher.branch; ;) {
    limitByBranch.set(branch, limit);
    const origin = run.branches[branch - 1];
    if (branch === 0 || origin === undefined) break;
    limit = Math.min(limit, origin.fromStep);
    branch = origin.parentBranch;
  }
  return [...run.abandonedTeachers, ...run.teachers]
    .filter((one) => one.state.step <= (limitByBranch.get(one.branch) ?? -1))
    .sort((left, right) => left.mark - right.mark);
}

/** The digests of states whose artifacts the run still needs: its teachers, its origin and its last two states. */
export function neededStates(run: PruningRunState): Set<string> {
  if (run.status === 'deleted') return new Set();
  const states = [
    ...run.teachers.map((one) => one.state),
    ...run.abandonedTeachers.map((one) => one.state),
    run.origin?.from,
    run.current,
    run.previous,
  ];
  return new Set(states.flatMap((state) => (state ? [state.stateDigest] : [])));
}

/**
 * Tells whether both states of a run need the same artifacts. The views and the feed ask it first, since most events change nothing here
 * and a look at every teacher takes time.
 */
export function needsTheSame(before: PruningRunState, after: PruningRunState): boolean {
  return (
    before.current === after.current &&
    before.previous === after.previous &&
    before.teachers === after.teachers &&
    before.abandonedTeachers === after.abandonedTeachers &&
    before.exports === after.exports &&
    before.evaluations === after.evaluations &&
    before.data === after.data &&
    before.discarded === after.discarded &&
    (before.status === 'deleted') === (after.status === 'deleted')
  );
}

/** All artifacts that the run needs, by digest: states, the files of its exports, and the tokens that it was trained and evaluated on. */
export function neededArtifacts(run: PruningRunState): Map<string, DiscardedArtifact['kind']> {
  if (run.status === 'deleted') return new Map();
  const gone = new Set(run.discarded.map(({ digest }) => digest));
  const exports = run.exports.filter(({ exportDigest }) => !gone.has(exportDigest));
  const files = exports.flatMap((one) => [one.exportDigest, ...one.files.map((file) => file.digest)]);
  const { validationDigest } = run.data;
  const tokens = [
    ...(isPrepared(run) ? tokenShards(run.data).map(({ digest }) => digest) : []),
    ...(validationDigest === null ? [] : [validationDigest]),
    ...run.evaluations.flatMap(artifactOf),
    ...(run.budget?.speed === undefined ? [] : [run.budget.speed.tableDigest]), // the table of speeds is small, so it counts as data
  ];
  return new Map([
    ...tokens.map((digest) => [digest, 'tokens'] as const),
    ...files.map((digest) => [digest, 'export'] as const),
    ...[...neededStates(run)].map((digest) => [digest, 'state'] as const),
  ]);
}
