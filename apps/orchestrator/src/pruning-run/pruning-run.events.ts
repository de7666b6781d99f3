// Every fact that is stored about a pruning run, in the past tense. Stream: `pruningRun-<runId>`.
//
// The stored bytes are the canonical JSON of `{ "v": schema version, "at": ISO time, ...fields }` (keys sorted, no white
// space), so the digest chain can be recomputed from the stream alone. Digests are SHA-256 in lower-case hex. Steps count
// from 0; `step` after an event means that so many steps are done. Tensors never go into events.

export type Recipe = 'nuteprune' | 'distill' | 'lm';
export type ScheduleShape = 'linear' | 'cubic';
export type ComputeDtype = 'f32' | 'bf16';

/** Complete settings of a run: with model and data they determine every bit of the result. */
export interface RunSettings {
  preset: string;
  recipe: Recipe;
  targetSparsity: number;
  totalSteps: number;
  warmupSteps: number;
  schedule: ScheduleShape;
  seed: string; // u64 as decimal string: JSON numbers stop at 2^53
  batchSize: number;
  sequenceLength: number;
  loraLearningRate: number;
  maskLearningRate: number;
  lambdaLearningRate: number;
  gradientClipNorm: number;
  layerLossWeight: number;
  klLossWeight: number;
  temperature: number;
  loraRank: number;
  loraAlpha: number;
  loraTargets: string[];
  snapshotInterval: number;
  teacherGapMarks: number;
  segmentSteps: number;
  computeDtype: ComputeDtype;
  denseSteps: boolean;
  checkpointActivations: boolean;
  evaluationWindow: number;
}

export interface ModelIdentity {
  path: string;
  weightsDigest: string;
  architecture: string;
  parameterCount: number;
  prunableParameterCount: number;
  weightBytes: number;
  hiddenSize: number;
  layers: { heads: number; units: number }[];
  vocabularySize: number;
  maxPositions: number;
}

export interface DataIdentity {
  trainPath: string;
  trainDigest: string; // of the token shard, an artifact
  trainTokens: number;
  validationPath: string | null;
  validationDigest: string | null;
  validationTokens: number;
  tokenizerDigest: string;
}

export type TeacherChoice =
  | { kind: 'intact' }
  | { kind: 'snapshot'; mark: number; stateDigest: string }
  | { kind: 'none' }; // recipe lm

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
}

interface Facts {
  RunLaunched: {
    runId: string; name: string; requestId: string; requestDigest: string;
    model: ModelIdentity; data: DataIdentity; settings: RunSettings;
  };
  RunForked: {
    runId: string; name: string; requestId: string; requestDigest: string;
    model: ModelIdentity; data: DataIdentity; settings: RunSettings; // as they are from here on
    parentRunId: string; parentRevision: number; // of the event that recorded the state
    from: StateFact; teacherMark: number | null; // null: forked from a last state
    overrides: Partial<RunSettings> & { data?: DataIdentity };
    inheritedTeachers: { mark: number; state: StateFact; ownerRunId: string }[];
    targetReachedStep: number | null; // carried over while the override leaves it true
  };
  /** A new attempt on an engine; reports of earlier attempts are refused from here on. */
  EngineAttached: {
    attempt: number; engineVersion: string; engineBuild: string; backend: string; device: string;
    threads: number; numericsFingerprint: string; numericsChangedFrom: string | null;
    resumedFromStep: number; resumedFromStateDigest: string | null; // null: fresh state
    leaseMs: number; // the attempt is taken for dead when nothing is heard for so long
  };
  /** Which teacher instructs from `fromStep` on, and why. */
  TeacherAssigned: {
    fromStep: number; teacher: TeacherChoice;
    reason: 'run_start' | 'capacity_gap' | 'post_target_phase' | 'rewound' | 'recipe';
    explanation: string;
  };
  SparsityAdvanced: { attempt: number; step: number; scheduledSparsity: number; expectedSparsity: number; hardSparsity: number };
  /** The state after steps [firstStep, state.step): durable, digested and chained. */
  MasksUpdated: {
    attempt: number; firstStep: number; state: StateFact;
    loss: { mean: number; last: number; layerMean: number | null; klMean: number | null; lmMean: number | null };
    trainingSeconds: number; tokens: number;
    chain: string; // SHA-256(previous chain || canonical bytes of this event with chain = "")
  };
  TeacherSnapshotted: { attempt: number; mark: number; threshold: number; state: StateFact };
  TargetSparsityReached: { step: number; expectedSparsity: number; targetSparsity: number; remainingSteps: number };
  StepsSkipped: { attempt: number; steps: number[]; cause: 'non_finite' };
  /** The engine of an attempt died, hung or was refused; a restart follows while the policy allows. */
  EngineLost: { attempt: number; code: string; message: string; lastStep: number; restartDelayMs: number | null };
  RunPaused: { step: number; by: 'request' | 'shutdown' };
  RunResumed: { fromStep: number; stateDigest: string | null; acceptOtherNumerics: boolean };
  /** Steps after `toStep` become an abandoned branch: kept, marked, never folded into the current state. */
  RunRewound: { toStep: number; state: StateFact; teacherMark: number; abandonedFromRevision: number; acceptOtherNumerics: boolean };
  RunCompleted: { step: number; stateDigest: string; hardSparsity: number; trainingSeconds: number };
  RunFailed: { step: number; code: string; message: string; field: string };
  RunCancelled: { step: number; reason: string };
  EvaluationRecorded: {
    subject: 'intact' | 'masked' | `export:${string}`; step: number; stateDigest: string | null; teacherMark: number | null;
    window: number; perplexity: number; negativeLogLikelihood: number; predictions: number; dataDigest: string;
  };
  ModelExported: {
    exportDigest: string; form: 'masked' | 'compacted'; dtype: string; step: number; stateDigest: string; teacherMark: number | null;
    parameterCount: number; bytes: number; files: { name: string; bytes: number; digest: string }[];
  };
}

export type PruningRunEventType = keyof Facts;
export type PruningRunEventData<T extends PruningRunEventType> = Facts[T];
/** A fact with its type and time; `v` is the schema version it was stored with (after upcasting: the current one). */
export type PruningRunEvent = { [T in PruningRunEventType]: { type: T; at: string; v: number; data: Facts[T] } }[PruningRunEventType];

/** Batches of per-step metrics. Stream: `runMetrics-<runId>`. */
export interface StepsMeasured {
  attempt: number;
  branch: number; // number of rewinds before: steps of earlier branches are abandoned from the rewind's step on
  steps: StepMeasurement[];
}
export interface StepMeasurement {
  step: number; loss: number; layerLoss: number | null; klLoss: number | null; lmLoss: number | null; lagrangian: number;
  scheduledSparsity: number; expectedSparsity: number; gradientNorm: number; lambda1: number; lambda2: number;
  seconds: number; skipped: boolean; openHeads: number; openUnits: number; openHidden: number;
  teacherMark: number | null; // null: intact or none
}
