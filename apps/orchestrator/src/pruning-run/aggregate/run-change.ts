// All changes of a run. A client asks for them, or the driver does for the engine. `decide` turns a change into facts or refuses it.
import type {
  DataIdentity,
  PruningRunEventData,
  RefitOutcome,
  RunSettings,
  SegmentLoss,
  StateFact,
  StepRates,
} from '../record/pruning-run.events.js';
import type { PruningRunState } from './pruning-run.state.js';

export type StartingPoint = { kind: 'last' } | { kind: 'mark'; mark: number } | { kind: 'digest'; stateDigest: string };

export type Launch = { kind: 'launch' } & PruningRunEventData<'RunLaunched'>;
export interface Fork extends Omit<PruningRunEventData<'RunLaunched'>, 'model' | 'settings' | 'data' | 'budget'> {
  kind: 'fork';
  parent: PruningRunState;
  from: StartingPoint;
  overrides: Partial<RunSettings>;
  data: DataIdentity | null; // null: the parent's data
}
export type Prepare = { kind: 'prepare' } & PruningRunEventData<'RunPrepared'>;
export interface FailPreparation {
  kind: 'failPreparation';
  code: string;
  message: string;
  field: string;
  /** Whether the cause may pass or a user may remove it. The run then pauses; otherwise it fails. */
  passes: boolean;
}
export interface StartAttempt {
  kind: 'startAttempt';
  attempt: number;
}
/** The rates that the attempt's engine has, by which the steps of a run with a time are chosen. */
export interface ChooseSteps {
  kind: 'chooseSteps';
  attempt: number;
  rates: StepRates;
  spentSeconds: number;
}
export interface AttachEngine {
  kind: 'attachEngine';
  attempt: number;
  engine: Pick<
    PruningRunEventData<'EngineAttached'>,
    'engineVersion' | 'engineBuild' | 'backend' | 'device' | 'threads' | 'numericsFingerprint' | 'leaseMs' | 'engineName'
  >;
  stateDigest: string;
}
export interface RecordSegment {
  kind: 'recordSegment';
  attempt: number;
  firstStep: number;
  state: StateFact;
  scheduledSparsity: number;
  loss: SegmentLoss;
  skippedSteps: number[];
  trainingSeconds: number;
  tokens: number;
  metricsRevision: number;
  metricsDigest: string;
  openDigest: string;
  refit?: RefitOutcome | undefined;
}
export interface RecordEngineLoss {
  kind: 'recordEngineLoss';
  attempt: number;
  cause: 'engine' | 'orchestrator';
  code: string;
  message: string;
  /** The number of steps done when the engine reported its last step, recorded or not. Absent where the engine reported none. */
  reachedStep?: number | undefined;
}
/**
 * Takes the run back to an earlier state because the artifact of a later one is damaged; the steps after it are trained again.
 * `stateDigest` is null for the fresh state that follows from the seed.
 */
export interface FallBack {
  kind: 'fallBack';
  attempt: number;
  stateDigest: string | null;
}
interface RequestPause {
  kind: 'requestPause';
}
export interface ConfirmPause {
  kind: 'confirmPause';
  by: 'request' | 'shutdown';
}
export interface Resume {
  kind: 'resume';
  from: StartingPoint;
  acceptOtherNumerics: boolean;
}
export interface Complete {
  kind: 'complete';
  attempt: number;
  evaluationError: { code: string; message: string } | null;
}
export interface Fail {
  kind: 'fail';
  attempt: number;
  code: string;
  message: string;
  field: string;
}
export interface Cancel {
  kind: 'cancel';
  reason: string;
}
/** A field that is undefined does not change. */
export interface Describe {
  kind: 'describe';
  name: string | undefined;
  addTags: string[];
  removeTags: string[];
  note: string | undefined;
}
/** The part that changes which remove artifacts share. Digests in `neededElsewhere` are needed by other runs and stay. */
interface GivesRoom {
  reason: string;
  neededElsewhere: ReadonlySet<string>;
}
export interface Discard extends GivesRoom {
  kind: 'discard';
  /** The artifacts to remove: all teachers but every n-th (null: no teacher), teachers of abandoned branches, and exports. */
  thinning: { keepEvery: number | null; abandoned: boolean; exports: boolean };
}
export interface Delete extends GivesRoom {
  kind: 'delete';
}
export type RecordEvaluation = { kind: 'recordEvaluation' } & PruningRunEventData<'EvaluationRecorded'>;
export type RecordSpeed = { kind: 'recordSpeed' } & PruningRunEventData<'SpeedRecorded'>;
export type RecordReplay = { kind: 'recordReplay'; branch: number } & PruningRunEventData<'StepsReplayed'>;
export type RecordExport = { kind: 'recordExport' } & PruningRunEventData<'ModelExported'>;

export type RunChange =
  | Launch
  | Fork
  | Prepare
  | FailPreparation
  | StartAttempt
  | ChooseSteps
  | AttachEngine
  | RecordSegment
  | FallBack
  | RecordEngineLoss
  | RequestPause
  | ConfirmPause
  | Resume
  | Complete
  | Fail
  | Cancel
  | RecordEvaluation
  | RecordSpeed
  | Describe
  | RecordExport
  | RecordReplay
  | Discard
  | Delete;
