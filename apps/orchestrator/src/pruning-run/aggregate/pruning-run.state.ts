// The state that the events of a run add up to. Plain data: views fold with the same evolve and copy from it.
import type {
  Budget,
  DataIdentity,
  DiscardedArtifact,
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

export type RunStatus = 'queued' | 'preparing' | 'training' | 'paused' | 'recovering' | 'completed' | 'failed' | 'cancelled' | 'deleted';

export interface Teacher extends TeacherSnapshot {
  state: StateFact;
  /** The revision of the event that recorded it; null: inherited from the parent. */
  revision: number | null;
  ownerRunId: string;
  /** Number of rewinds before it. */
  branch: number;
  at: string;
}

/** An evaluation, and whether its state lies on a branch that the run was rewound from. */
export type RecordedEvaluation = PruningRunEventData<'EvaluationRecorded'> & { at: string; abandoned: boolean };
export type RecordedExport = PruningRunEventData<'ModelExported'> & { at: string; abandoned: boolean };

/** An artifact that was thrown away, and the event that says so. */
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
  tags: string[]; // sorted
  note: string;
  requestId: string;
  requestDigest: string;
  model: ModelIdentity;
  data: DataIdentity;
  settings: RunSettings;
  /** Absent: the target is a sparsity. */
  budget?: Budget;
  /** The plan, in order; steps count through all of them. */
  phases: Phase[];
  /** That of the last recorded step, or the one that was begun after it. */
  phase: PhaseKind;
  origin: RunOrigin | null;

  status: RunStatus;
  failure: { code: string; message: string; field: string } | null; // of the last attempt, or of the run
  pauseRequested: boolean;
  pausedBy: 'request' | 'shutdown' | 'obstacle' | null;

  /** The last recorded state; null: none yet. */
  current: StateFact | null;
  /** The digest of the gates that its masks leave open; null where the record does not say which these are. */
  openDigest: string | null;
  /** The recorded state before it, kept as a second place to go on from. */
  previous: StateFact | null;
  teachers: Teacher[]; // on the current branch, weakest pruned first
  abandonedTeachers: Teacher[];
  assignment: { phase: PhaseKind; teacher: TeacherChoice; fromStep: number; reason: TeacherReason; explanation: string } | null;
  targetReachedStep: number | null;
  targetReachedAt: string | null;
  scheduledSparsity: number;
  /** Rewinds; branches[n] tells where branch n + 1 took up an earlier state. */
  branch: number;
  branches: { parentBranch: number; fromStep: number }[];

  attempt: number;
  attemptOpen: boolean;
  restarts: number;
  attemptsWithoutProgress: number;
  /** The furthest step of attempts that recorded nothing after the current state; 0: none got beyond it. */
  furthestStep: number;
  /** The next attempt may start from here on (ISO time); null: at once. */
  restartNotBefore: string | null;
  /** The revision of the first event of the last segment. */
  segmentRevision: number;
  engine: PruningRunEventData<'EngineAttached'> | null;
  numericsFingerprint: string | null;
  acceptOtherNumerics: boolean;

  skippedSteps: number;
  /** The steps skipped since fromStep: the launch, the last rewind or resume, or SKIPS_REMEMBERED_STEPS before the last segment's end. */
  latestSkips: { fromStep: number; steps: number[] };
  trainingSeconds: number;
  lastSegment: { steps: number; tokens: number; seconds: number } | null;
  evaluations: RecordedEvaluation[];
  exports: RecordedExport[];
  discarded: KnownDiscard[];
  deleted: { at: string; reason: string } | null;

  launchedAt: string;
  /** The user whose call launched or forked it; null: its event is of an earlier release and does not say. */
  launchedBy: string | null;
  /** The name of a person who has logged in, as it was then. */
  launchedByName?: string;
  updatedAt: string;
  endedAt: string | null;
  /** The revision of the last event folded. */
  revision: number;
  chain: string;
}

export const isFinished = ({ status }: Pick<PruningRunState, 'status'>): boolean =>
  status === 'completed' || status === 'failed' || status === 'cancelled' || status === 'deleted';

/** Its model and text were read. A run that was launched before there was preparing is prepared from the start. */
export const isPrepared = ({ data }: Pick<PruningRunState, 'data'>): boolean => data.trainDigest !== '';

/** The run's phase while no engine works for it. */
export const idleStatus = (run: Pick<PruningRunState, 'data'>): RunStatus => (isPrepared(run) ? 'queued' : 'preparing');

/** The driver works on the run now, or when its turn comes. A run paused by a shutdown goes on by itself. */
export const isRunnable = (run: Pick<PruningRunState, 'status' | 'pausedBy'>): boolean =>
  !isFinished(run) && (run.status !== 'paused' || run.pausedBy === 'shutdown');

export const stepOf = (run: Pick<PruningRunState, 'current'>): number => run.current?.step ?? 0;

/** The teachers on the branch of `teacher` up to it: what a fork from it inherits. */
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

/** States that some event of the run still needs as artifacts: its teachers, its origin and its last two states. */
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

/** Whether an event between the two can have changed the needed artifacts. Most events don't, and a look at every teacher takes time. */
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

/** All artifacts that the run needs: states, the files of its exports, and the tokens that it was trained and evaluated on. */
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
    ...(run.budget?.speed === undefined ? [] : [run.budget.speed.tableDigest]), // counted with the data: it is small
  ];
  return new Map([
    ...tokens.map((digest) => [digest, 'tokens'] as const),
    ...files.map((digest) => [digest, 'export'] as const),
    ...[...neededStates(run)].map((digest) => [digest, 'state'] as const),
  ]);
}
