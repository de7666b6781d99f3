// All changes of a run, by a client or by the driver for the engine. `decide` turns a change into facts or refuses it.
import type { DataIdentity, PruningRunEventData, RefitOutcome, RunSettings, SegmentLoss, StateFact } from '../record/pruning-run.events.js';
import type { PruningRunState } from './pruning-run.state.js';

export type StartingPoint = { kind: 'last' } | { kind: 'mark'; mark: number } | { kind: 'digest'; stateDigest: string };

export type Launch = { kind: 'launch' } & PruningRunEventData<'RunLaunched'>;
export interface Fork extends Omit<PruningRunEventData<'RunLaunched'>, 'model' | 'settings' | 'data' | 'budget'> {
  kind: 'fork';
  parent: PruningRunState;
  from: StartingPoint;
  overrides: Partial<RunSettings>;
  data: DataIdentity | null; // null: the parent's
}
export type Prepare = { kind: 'prepare' } & PruningRunEventData<'RunPrepared'>;
export interface FailPreparation {
  kind: 'failPreparation';
  code: string;
  message: string;
  field: string;
  /** The cause may pass: the run was tried again and again, and a user may mend it. */
  passes: boolean;
}
export interface StartAttempt {
  kind: 'startAttempt';
  attempt: number;
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
  openDigest?: string | undefined;
  refit?: RefitOutcome | undefined;
}
export interface RecordEngineLoss {
  kind: 'recordEngineLoss';
  attempt: number;
  cause: 'engine' | 'orchestrator';
  code: string;
  message: string;
  /** Steps done when its last step was reported, recorded or not; absent: it reported none. */
  reachedStep?: number | undefined;
}
/** The last state's artifact is damaged: an earlier one is taken up, and the steps after it are trained again. */
/** A state is damaged: back to an earlier one; null: to the fresh state of the seed. */
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
/** A field that is undefined stays as it is. */
export interface Describe {
  kind: 'describe';
  name: string | undefined;
  addTags: string[];
  removeTags: string[];
  note: string | undefined;
}
/** Digests that other runs need: they stay. */
interface GivesRoom {
  reason: string;
  neededElsewhere: ReadonlySet<string>;
}
export interface Discard extends GivesRoom {
  kind: 'discard';
  /** These go: all teachers but every n-th (null: all stay); those of abandoned branches; exports. */
  thinning: { keepEvery: number | null; abandoned: boolean; exports: boolean };
}
export interface Delete extends GivesRoom {
  kind: 'delete';
}
export type RecordEvaluation = { kind: 'recordEvaluation' } & PruningRunEventData<'EvaluationRecorded'>;
export type RecordExport = { kind: 'recordExport' } & PruningRunEventData<'ModelExported'>;

export type RunChange =
  | Launch
  | Fork
  | Prepare
  | FailPreparation
  | StartAttempt
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
  | Describe
  | RecordExport
  | Discard
  | Delete;
