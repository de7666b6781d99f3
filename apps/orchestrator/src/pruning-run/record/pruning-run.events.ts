// Every fact that is stored about a pruning run, in the past tense. A run's stream is `pruningRun-<runId>`.
//
// The stored bytes are the canonical JSON of `{ "v": schema version, "at": ISO time, "chain": digest, "context": who asked, ...fields }`
// (see stored-event.ts). So the digest chain can be recomputed from the stream alone, and it covers every event. Digests are SHA-256 in
// lower-case hex. Steps count from 0, and `step` in an event is the number of steps that are done. Events never hold tensors.

import type { SettingName, SettingValues } from '#protocol';
import type { CallContext } from '../../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../../event-sourcing/event-codec.js';
import type { DataIdentity } from './data-identity.js';
import type { ClosedKind, TaskDigests } from './measures.js';
import type { Obstacle } from './obstacles.js';
import type { StepsChosen } from './steps-chosen.js';

export type { DataIdentity, DataReading, TokenShard, TokenSource } from './data-identity.js';

/**
 * The complete settings of a run. With the model and the data they determine every bit of the result. The table of settings is in
 * proto/espalier/v1/common.proto.
 */
export type RunSettings = SettingValues;
export type Recipe = RunSettings['recipe'];
export type ScheduleShape = RunSettings['schedule'];
export type SparsityControl = RunSettings['sparsityControl'];
export type PhaseKind = 'prune' | 'recover';

export interface ModelIdentity {
  path: string;
  weightsDigest: string; // '' until the run is prepared
  architecture: string;
  parameterCount: number;
  prunableParameterCount: number;
  weightBytes: number;
  hiddenSize: number;
  layers: { heads: number; units: number }[];
  vocabularySize: number;
  maxPositions: number;
  kvHeads?: number; // the key/value heads of one layer; only in runs whose gates can close key/value heads
}

// 'none': the step has no teacher
export type TeacherChoice = { kind: 'intact' } | { kind: 'snapshot'; mark: number; stateDigest: string } | { kind: 'none' };

/**
 * Why a teacher instructs. run_start: it is the first teacher. capacity_gap: a new snapshot changed the teacher. post_target_phase: after
 * the target, teachers go from weak to strong. recipe: the recipe has one teacher or none. rewound: the run went back to an earlier state.
 * recovery: the run recovers from pruning.
 */
export type TeacherReason = 'run_start' | 'capacity_gap' | 'post_target_phase' | 'recipe' | 'rewound' | 'recovery';

export interface StateFact {
  step: number;
  stateDigest: string; // also the name of the artifact, whose bytes are the state's canonical bytes
  stateBytes: number;
  masksDigest: string;
  expectedSparsity: number;
  hardSparsity: number;
  headsOpen: number[]; // in each layer
  unitsOpen: number[];
  hiddenOpen: number;
  kvHeadsOpen?: number[]; // in each layer, the key/value heads that an open head reads; only where the model has kvHeads
  size: ExportSize;
}

/** The size of the state's export in the format hf-remote, with the model's own type of numbers. */
export interface ExportSize {
  parameterCount: number; // tied parameters count once
  multiplications: number; // the multiplications of one token with weights
  bytes: number; // the bytes of all weights
}

/** The losses of the phase, summed over the refit's batches, before and after the refit. The refit is kept if it lowers the sum. */
export interface RefitOutcome {
  kept: boolean;
  lossBefore: number;
  lossAfter: number;
}

/** A snapshot that a fork got from its parent, with the run whose training made it. */
export interface InheritedTeacher {
  mark: number;
  threshold: number;
  state: StateFact;
  ownerRunId: string;
}

/** An artifact that a user had removed. An export is its manifest and its files, and each is an artifact. */
export interface DiscardedArtifact {
  kind: 'state' | 'export' | 'tokens';
  digest: string;
  bytes: number | null; // null: the record does not tell
  step: number | null; // the step of the state, or of the state that was exported; null for tokens
  marks: number[]; // the marks at which the state is a teacher
}

/** The form that an export has. */
export interface MadeExport {
  format: 'masked' | 'hf' | 'hf-remote' | 'vllm' | 'gguf';
  multipleOf: number;
  architecture: string; // the architecture that the export names
  contextLength: number; // the longest sequence for which the export computes what the student does
  hiddenSize: number;
  tensorBytes: number; // the bytes of the weights without the headers of their files, as the engine wrote them before any quantizer
  layers: { heads: number; kvHeads: number; units: number }[];
  notes: string[];
}

/** How far an export differs from the masked student in F32. */
export interface ExportProof {
  negativeLogLikelihood: number; // the mean of the masked student in nats
  predictions: number;
  window: number;
  dataDigest: string; // the digest of the tokens, the first of which were used
  loaders: LoaderProof[];
}
export interface LoaderProof {
  loader: string;
  outcome: 'agrees' | 'failed' | 'untried';
  negativeLogLikelihood: number | null; // null unless the loader agrees
  message: string;
}

export interface SegmentLoss {
  mean: number | null; // null: every step of the segment was skipped
  last: number | null;
  layerMean: number | null; // null: this loss has no part in the phase; so for the next two
  klMean: number | null;
  lmMean: number | null;
}

/** A target in another unit than sparsity. Together with the settings it holds everything that the engine gets to know about the target. */
export interface Budget {
  setting: 'targetParams' | 'targetBytes' | 'targetMacs' | 'targetSpeedup';
  /** The cost of the intact model, in the budget's unit. */
  intact: number;
  /** The least cost that the run can reach, since it can't close everything. */
  least: number;
  kvHeads: number; // in one layer
  /** The bytes of a key/value head's cache; 0 where the budget counts no cache. */
  cacheBytes: number;
  /** The cost as the numbers that the engine reads; method/model-cost.ts makes them. */
  cost: number[];
  /** For a target in seconds, the table of speeds that the run uses and the pass that was measured for it. */
  speed?: { tableDigest: string; device: string; dtype: string; phase: 'prefill' | 'decode'; batch: number; context: number };
}

/** The fields with which every run begins, whether launched or forked. */
type Launched = {
  runId: string;
  name: string;
  tags?: string[] | undefined;
  note?: string | undefined;
  requestId: string;
  requestDigest: string;
  model: ModelIdentity;
  data: DataIdentity;
  settings: RunSettings; // for a fork, the settings from here on
  following?: SettingName[]; // only with a time: the settings whose defaults follow from the steps; StepsChosen has their values
  /** Absent where the target is a sparsity. With a budget, all sparsities of the run are shares of its cost. */
  budget?: Budget;
};

interface Facts {
  RunLaunched: Launched;
  RunForked: Launched & {
    parentRunId: string;
    parentRevision: number; // the parent's last event that the fork knows
    from: StateFact;
    teacherMark: number | null; // null: the fork starts from the parent's last state
    overrides: Partial<RunSettings> & { data?: DataIdentity };
    inheritedTeachers: InheritedTeacher[]; // the teachers on the branch up to `from`, least pruned first
    targetReachedStep: number | null; // when the run reached the target that it has from here on
  };
  /** The model and the text were read, so their digests are known. */
  RunPrepared: { model: ModelIdentity; data: DataIdentity; seconds: number };
  /** A new attempt begins, and an engine is being prepared for it. From here on, reports of earlier attempts are refused. */
  AttemptStarted: { attempt: number; fromStep: number; stateDigest: string | null }; // a null digest means the fresh state
  StepsChosen: StepsChosen;
  /** The attempt's engine holds the model, the data and the state, and training starts. */
  EngineAttached: {
    attempt: number;
    engineVersion: string;
    engineBuild: string;
    backend: string;
    device: string;
    threads: number;
    numericsFingerprint: string;
    numericsChangedFrom: string | null;
    evaluatesOnly?: true; // all steps were done before, on other numerics: this engine trains nothing
    resumedFromStep: number;
    resumedFromStateDigest: string; // the fresh state has a digest, too
    leaseMs: number; // the engine counts as dead after this time without a message from it
    engineName: string; // the name of its slot
  };
  /**
   * The teacher that instructs from `fromStep` on, and why. Where the teacher changes within a segment, this comes before the segment's
   * MasksUpdated.
   */
  TeacherAssigned: { fromStep: number; phase: PhaseKind; teacher: TeacherChoice; reason: TeacherReason; explanation: string };
  /** All steps of the phase before are done. If the phase is recovery, the deterministic masks of the state are frozen from here on. */
  PhaseStarted: { attempt: number; phase: PhaseKind; fromStep: number; endStep: number; stateDigest: string; masksDigest: string };
  SparsityAdvanced: { attempt: number; step: number; scheduledSparsity: number; expectedSparsity: number; hardSparsity: number };
  /** The state after the steps from `firstStep` to before `state.step`. The state is stored durably before this event is. */
  MasksUpdated: {
    attempt: number;
    phase: PhaseKind;
    firstStep: number;
    state: StateFact;
    loss: SegmentLoss;
    trainingSeconds: number;
    tokens: number;
    metricsRevision: number;
    metricsDigest: string; // the SHA-256 of the segment's StepsMeasured in the metrics stream
    /** The digest of the gates that the masks leave open, one bit each (libs/audit gate-set.ts). */
    openDigest?: string | undefined;
    /** The refit that the segment began with, if there was one. */
    refit?: RefitOutcome | undefined;
  };
  TeacherSnapshotted: { attempt: number; phase: PhaseKind; mark: number; threshold: number; state: StateFact };
  TargetSparsityReached: { step: number; expectedSparsity: number; targetSparsity: number; remainingSteps: number };
  StepsSkipped: { attempt: number; steps: number[]; cause: 'non_finite' };
  /** The attempt ended without a result: its engine died, hung or failed, or the orchestrator died with it. */
  EngineLost: {
    attempt: number;
    cause: 'engine' | 'orchestrator';
    code: string;
    message: string;
    lastStep: number; // the last recorded step; later steps of the attempt are trained again
    reachedStep?: number | undefined; // the steps done when the engine reported its last one; absent if it reported none
    restartDelayMs: number;
  };
  /** A user asked for a pause. The run pauses at the next step boundary. */
  RunPauseRequested: { step: number };
  /** After a shutdown the run goes on by itself. At an obstacle it waits until a user has removed the cause and resumes the run. */
  RunPaused: { step: number; by: 'request' | 'shutdown' | 'obstacle'; cause?: Obstacle | undefined };
  RunResumed: { fromStep: number; stateDigest: string | null; acceptOtherNumerics: boolean };
  /** The events from `abandonedFromRevision` up to this one become an abandoned branch: stored and marked, but not in the run's state. */
  RunRewound: {
    toStep: number;
    state: StateFact | null; // null: the fresh state that follows from the seed
    teacherMark: number | null; // null: the run rewound itself, because the artifact of a later state is damaged
    abandonedFromRevision: number;
    acceptOtherNumerics: boolean;
    targetReachedStep: number | null;
  };
  RunCompleted: {
    step: number;
    stateDigest: string;
    hardSparsity: number;
    /** The sparsity that the run reached and the one that it was asked for. */
    expectedSparsity: number;
    targetSparsity: number;
    trainingSeconds: number;
    evaluationError: { code: string; message: string } | null; // why the evaluation at the end is missing
  };
  RunFailed: { step: number; code: string; message: string; field: string };
  /** The run does not go on by itself, but a RunRewound can take it up again from a teacher. */
  RunCancelled: { step: number; reason: string };
  EvaluationRecorded: {
    /** unstructured: by method and sparsity; closings: by kind, and by layer where it is of one layer */
    subject:
      | 'intact'
      | 'masked'
      | `export:${string}`
      | `unstructured:${'magnitude' | 'wanda'}:${number}`
      | `closings:${ClosedKind}${'' | `:${number}`}`;
    step: number;
    stateDigest: string | null;
    teacherMark: number | null;
    task: string;
    metric: string;
    value: number;
    stderr: number | null; // null: the metric has no standard error
    n: number; // the number of predictions or questions that the value is the mean of
    convention: string; // in words, see measures.ts
    details: Record<string, number>; // other results by their names
    dataDigest: string;
    dataPath?: string; // absent for the run's own text
    digests?: TaskDigests; // only of a task that is not the text itself; dataDigest then names no artifact
    samplesDigest?: string; // an artifact in JSON Lines with the result of each question
    /** The numerics of the evaluating engine where it had others than the training. Absent for exports. */
    numericsFingerprint?: string;
  };
  ModelExported: {
    exportDigest: string;
    form: 'masked' | 'compacted' | 'padded' | 'blocks';
    dtype: string;
    step: number;
    stateDigest: string;
    teacherMark: number | null;
    parameterCount: number;
    bytes: number;
    files: { name: string; bytes: number; digest: string }[];
    made: MadeExport;
    proof?: ExportProof; // absent where the proof was skipped
  };
  /** The name, tags and note of the run. A field that is absent did not change. */
  RunDescribed: { name?: string | undefined; addedTags: string[]; removedTags: string[]; note?: string | undefined };
  /**
   * A user had artifacts removed. The event is stored before the bytes are removed, and the next start completes a removal that a crash cut
   * short. A removed state is no longer a teacher.
   */
  ArtifactsDiscarded: {
    reason: string;
    keepEvery: number | null; // only every n-th teacher was kept; null: all were
    abandoned: boolean; // teachers of abandoned branches were removed, too
    exports: boolean;
    artifacts: DiscardedArtifact[];
  };
  /** The last event of a run. Its stream stays, and all artifacts that only this run needed are removed. */
  RunDeleted: { step: number; reason: string; artifacts: DiscardedArtifact[] };
}

export type PruningRunEventType = keyof Facts;
export type PruningRunEventData<T extends PruningRunEventType> = Facts[T];
/** A fact that was decided and is not stored yet. */
export type NewFact = {
  [T in PruningRunEventType]: { type: T; at: string; data: Facts[T]; context?: CallContext | undefined };
}[PruningRunEventType];
export type PruningRunEvent = { [T in PruningRunEventType]: Envelope & { type: T; data: Facts[T] } }[PruningRunEventType];
export type { UnknownEvent };
export type RecordedEvent = PruningRunEvent | UnknownEvent;
