// Every fact that is stored about a pruning run, in the past tense. Stream: `pruningRun-<runId>`.
//
// The stored bytes are the canonical JSON of `{ "v": schema version, "at": ISO time, "chain": digest, "context": who
// asked, ...fields }` (see stored-event.ts). So the digest chain can be recomputed from the stream alone, and it covers every event.
// Digests are SHA-256 in lower-case hex. Steps count from 0; `step` in an event is the number of steps that are done. Tensors never
// go into events.

import type { SettingValues } from '#protocol';
import type { CallContext } from '../../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../../event-sourcing/event-codec.js';
import type { DataIdentity } from './data-identity.js';
import type { TaskDigests } from './measures.js';
import type { Obstacle } from './obstacles.js';

export type { DataIdentity, DataReading, TokenShard, TokenSource } from './data-identity.js';

/** Complete settings of a run: with model and data they determine every bit of the result. Their table: proto/espalier/v1/common.proto. */
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
  kvHeads?: number; // of a layer; in runs whose gates take key/value heads away
}

export type TeacherChoice = { kind: 'intact' } | { kind: 'snapshot'; mark: number; stateDigest: string } | { kind: 'none' }; // recipe lm

/**
 * run_start: the first teacher. capacity_gap: a new snapshot changed the teacher. post_target_phase: the target is reached,
 * teachers go from weak to strong. recipe: the recipe knows one teacher or none. rewound: an earlier state was taken up.
 */
export type TeacherReason = 'run_start' | 'capacity_gap' | 'post_target_phase' | 'recipe' | 'rewound' | 'recovery';

export interface StateFact {
  step: number;
  stateDigest: string; // also the artifact's name: the state's canonical bytes are its file
  stateBytes: number;
  masksDigest: string;
  expectedSparsity: number;
  hardSparsity: number;
  headsOpen: number[]; // by layer
  unitsOpen: number[];
  hiddenOpen: number;
  kvHeadsOpen?: number[]; // key/value heads that an open head reads, by layer; where the model has kvHeads
  size?: ExportSize; // not in events of earlier releases
}

/** The content of the state's export in the format hf-remote, stored as the model is. */
export interface ExportSize {
  parameterCount: number; // tied ones once
  multiplications: number; // of a token with weights
  bytes: number; // of the weights
}

/** The losses of the phase on the refit's batches, summed, before and after. The refit stays where the second is lower. */
export interface RefitOutcome {
  kept: boolean;
  lossBefore: number;
  lossAfter: number;
}

/** A snapshot that a run was given by its parent, with the run whose training made it. */
export interface InheritedTeacher {
  mark: number;
  threshold: number;
  state: StateFact;
  ownerRunId: string;
}

/** An artifact that a user had removed. Exports are their manifest and their files. */
export interface DiscardedArtifact {
  kind: 'state' | 'export' | 'tokens';
  digest: string;
  bytes: number | null; // null: not known from the record
  step: number | null; // of a state, or of the state that was exported
  marks: number[]; // of the teachers that a state was
}

/** The form that an export came out in. */
export interface MadeExport {
  format: 'masked' | 'hf' | 'hf-remote' | 'vllm' | 'gguf';
  multipleOf: number;
  architecture: string; // as the export names it
  contextLength: number; // up to which it is the student
  hiddenSize: number;
  layers: { heads: number; kvHeads: number; units: number }[];
  notes: string[];
}

/** How far an export is from the masked student in F32. */
export interface ExportProof {
  negativeLogLikelihood: number; // of the masked student, mean in nats
  predictions: number;
  window: number;
  dataDigest: string; // of the tokens; the first of them were taken
  loaders: LoaderProof[];
}
export interface LoaderProof {
  loader: string;
  outcome: 'agrees' | 'failed' | 'untried';
  negativeLogLikelihood: number | null; // null unless it agrees
  message: string;
}

export interface SegmentLoss {
  mean: number | null; // null: every step of the segment was skipped
  last: number | null;
  layerMean: number | null; // null where a loss has no part
  klMean: number | null;
  lmMean: number | null;
}

/** A target in another unit than sparsity. With the settings it says all that the engine is told. */
export interface Budget {
  setting: 'targetParams' | 'targetBytes' | 'targetMacs' | 'targetSpeedup';
  /** The cost of the intact model, in the budget's unit. */
  intact: number;
  /** The least that a run can come to, since it can not close everything. */
  least: number;
  kvHeads: number; // of a layer
  /** As method/model-cost.ts counts it, in the order of the engine's numbers. */
  cost: number[];
  /** For a target in seconds: the table that it goes by, and the pass that was measured. */
  speed?: { tableDigest: string; device: string; dtype: string; phase: 'prefill' | 'decode'; batch: number; context: number };
}

/** How any run begins, launched or forked. */
type Launched = {
  runId: string;
  name: string;
  tags?: string[] | undefined;
  note?: string | undefined;
  requestId: string;
  requestDigest: string;
  model: ModelIdentity;
  data: DataIdentity;
  settings: RunSettings; // of a fork: as they are from here on
  /** Absent: the target is a sparsity. With it all sparsities of the run are shares of its cost. */
  budget?: Budget;
};

interface Facts {
  RunLaunched: Launched;
  RunForked: Launched & {
    parentRunId: string;
    parentRevision: number; // the parent's last event that the fork knows
    from: StateFact;
    teacherMark: number | null; // null: forked from a last state
    overrides: Partial<RunSettings> & { data?: DataIdentity };
    inheritedTeachers: InheritedTeacher[]; // those on the branch up to `from`, weakest pruned first
    targetReachedStep: number | null; // of the target as it is from here on
  };
  /** Model and text were read, so their digests are known. Runs of earlier releases lack this event: they were launched prepared. */
  RunPrepared: { model: ModelIdentity; data: DataIdentity };
  /** A new attempt begins: reports of earlier attempts are refused from here on. An engine is being prepared. */
  AttemptStarted: { attempt: number; fromStep: number; stateDigest: string | null }; // null: fresh state
  /** The attempt's engine holds model, data and state; training starts. */
  EngineAttached: {
    attempt: number;
    engineVersion: string;
    engineBuild: string;
    backend: string;
    device: string;
    threads: number;
    numericsFingerprint: string;
    numericsChangedFrom: string | null;
    resumedFromStep: number;
    resumedFromStateDigest: string; // of the fresh state, where it is one
    leaseMs: number; // the engine is taken for dead when nothing is heard of it for so long
    engineName?: string; // of its slot; older histories have none
  };
  /** The teacher from `fromStep` on, with the reason. A change of teacher within a segment comes before the segment's MasksUpdated. */
  TeacherAssigned: { fromStep: number; phase: PhaseKind; teacher: TeacherChoice; reason: TeacherReason; explanation: string };
  /** All steps before it are done; from here on the state's deterministic masks are frozen. */
  PhaseStarted: { attempt: number; phase: PhaseKind; fromStep: number; endStep: number; stateDigest: string; masksDigest: string };
  SparsityAdvanced: { attempt: number; step: number; scheduledSparsity: number; expectedSparsity: number; hardSparsity: number };
  /** The state after steps [firstStep, state.step): durable before this event. */
  MasksUpdated: {
    attempt: number;
    phase: PhaseKind;
    firstStep: number;
    state: StateFact;
    loss: SegmentLoss;
    trainingSeconds: number;
    tokens: number;
    metricsRevision: number;
    metricsDigest: string; // the segment's StepsMeasured in the metrics stream, SHA-256 of its bytes
    /** Digest of the gates that the state's masks leave open, one bit each (libs/audit gate-set.ts); not in earlier events. */
    openDigest?: string | undefined;
    /** With which the segment began; earlier events don't say. */
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
    lastStep: number; // recorded; later steps of the attempt are trained again
    reachedStep?: number | undefined; // steps done when its last one was reported, if any was
    restartDelayMs: number;
  };
  /** A user asked for a pause; the run pauses at the next step boundary. */
  RunPauseRequested: { step: number };
  /** After a shutdown the run goes on by itself; at an obstacle it waits until a user has mended it and resumes the run. */
  RunPaused: { step: number; by: 'request' | 'shutdown' | 'obstacle'; cause?: Obstacle | undefined }; // with an obstacle only
  RunResumed: { fromStep: number; stateDigest: string | null; acceptOtherNumerics: boolean };
  /** Events from `abandonedFromRevision` up to this one become an abandoned branch: kept, marked, not in the state. */
  RunRewound: {
    toStep: number;
    state: StateFact | null; // null: the fresh state of the seed
    teacherMark: number | null; // null: by the run itself, because the artifact of a later state is damaged
    abandonedFromRevision: number;
    acceptOtherNumerics: boolean;
    targetReachedStep: number | null;
  };
  RunCompleted: {
    step: number;
    stateDigest: string;
    hardSparsity: number;
    /** The sparsity that was reached, and the one that was asked for; events of earlier releases don't say it. */
    expectedSparsity?: number;
    targetSparsity?: number;
    trainingSeconds: number;
    evaluationError: { code: string; message: string } | null; // why the evaluation at the end is missing
  };
  RunFailed: { step: number; code: string; message: string; field: string };
  /** The run does not go on by itself. A RunRewound can take it up again from a teacher. */
  RunCancelled: { step: number; reason: string };
  /** Before version 3 an evaluation was a perplexity. */
  EvaluationRecorded: {
    subject: 'intact' | 'masked' | `export:${string}` | `unstructured:${'magnitude' | 'wanda'}:${number}`; // the last by its sparsity
    step: number;
    stateDigest: string | null;
    teacherMark: number | null;
    task: string;
    metric: string;
    value: number;
    stderr: number | null; // null: the metric has none
    n: number; // predictions or questions that the value is the mean of
    convention: string; // in words, see measures.ts
    details: Record<string, number>; // what else came out of it, by name
    dataDigest: string;
    dataPath?: string; // of other text than the run's own
    digests?: TaskDigests; // of a task that is not the text itself; its dataDigest names no artifact
    samplesDigest?: string; // artifact of JSON Lines: what each question came to
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
    made?: MadeExport; // not in events of earlier releases
    proof?: ExportProof; // not where it was skipped
  };
  /** Name, tags and note of the run; an absent field did not change. */
  RunDescribed: { name?: string | undefined; addedTags: string[]; removedTags: string[]; note?: string | undefined };
  /** Recorded before the bytes go; a crash in between is made good at the next start. A removed state no longer is a teacher. */
  ArtifactsDiscarded: {
    reason: string;
    keepEvery: number | null; // every n-th teacher was kept
    abandoned: boolean; // teachers of abandoned branches too
    exports: boolean;
    artifacts: DiscardedArtifact[];
  };
  /** The last event of a run: its stream stays, all bytes that only it needed go. */
  RunDeleted: { step: number; reason: string; artifacts: DiscardedArtifact[] };
}

export type PruningRunEventType = keyof Facts;
export type PruningRunEventData<T extends PruningRunEventType> = Facts[T];
/** A fact as decided: not stored yet. */
export type NewFact = {
  [T in PruningRunEventType]: { type: T; at: string; data: Facts[T]; context?: CallContext | undefined };
}[PruningRunEventType];
export type PruningRunEvent = { [T in PruningRunEventType]: Envelope & { type: T; data: Facts[T] } }[PruningRunEventType];
export type { UnknownEvent };
export type RecordedEvent = PruningRunEvent | UnknownEvent;
