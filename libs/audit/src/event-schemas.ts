// Every event of a run, field by field: the one description of what is stored. The types of the orchestrator follow from it. An event may
// have no other fields.
import { z } from 'zod';
import { EXPORT_FORMAT_NAMES } from '#comparison';
import type { SettingValues } from '#protocol';
import { budget, count, settingName, settings, settingShapes, text } from './settings-schema.js';

export { count, text, type Budget } from './settings-schema.js';
/** The end of a sentence about what this release does not know. */
export const CAN_BE_CHECKED = 'if a later release made it, that release can check it';

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const runId = z.string().regex(/^[a-z2-7]{12}$/);
export const maybe = z.number().nullable();

/** Makes all fields optional: a field may be missing, but not undefined (`partial` of zod allows both). */
function allOptional(shape: Record<string, z.ZodType>): Record<string, z.ZodType> {
  return Object.fromEntries(Object.entries(shape).map(([name, field]) => [name, z.exactOptional(field)]));
}

const model = z.strictObject({
  path: text,
  weightsDigest: digest,
  architecture: text,
  parameterCount: count,
  prunableParameterCount: count,
  weightBytes: count,
  hiddenSize: count,
  layers: z.array(z.strictObject({ heads: count, units: count })),
  vocabularySize: count,
  maxPositions: count,
  kvHeads: count.exactOptional(), // the key/value heads of one layer; only in runs whose gates can close key/value heads
});
export type ModelIdentity = z.infer<typeof model>;

/** How the texts are read. A field is absent where it has its usual value. */
const reading = {
  moreTrainPaths: z.array(text).optional(),
  moreValidationPaths: z.array(text).optional(),
  textColumn: text.optional(), // absent: the first column that a row has of text, messages, and instruction with output
  validationTextColumn: text.optional(), // '': the first column that is there, as for the training text; absent: textColumn
  responseOnly: z.literal(true).optional(), // the run learns only the responses of the training text; absent: all of the text
  maxTrainTokens: count.optional(), // absent, here and in the next line: all tokens
  maxValidationTokens: count.optional(),
};
export type DataReading = z.infer<z.ZodObject<typeof reading>>;
/** An artifact that holds tokens of a text. */
const shard = z.strictObject({ digest, tokens: count });
export type TokenShard = z.infer<typeof shard>;
/** A source of a training text. Its shards, one after another, are its text, and `parts` is its share of the sequences. */
const source = z.strictObject({ parts: count, shards: z.array(shard) });
export type TokenSource = z.infer<typeof source>;
/** The texts of a run, and the artifacts that hold their tokens. */
const data = z.strictObject({
  ...reading,
  trainPath: text,
  trainDigest: digest, // of the artifact that holds the tokens, or of trainSources
  trainTokens: count,
  /** How many of a million sequences come from trainPath and from each of moreTrainPaths. Absent where these paths are a single source. */
  trainParts: z.array(count).optional(),
  trainSources: z.array(source).optional(), // only where the tokens lie in more than one artifact
  validationPath: text.nullable(),
  validationDigest: digest.nullable(),
  validationTokens: count,
  tokenizerDigest: digest,
});
export type DataIdentity = z.infer<typeof data>;

/** The size of a state's export in the format hf-remote, with the model's own type of numbers. */
const size = z.strictObject({
  parameterCount: count, // tied parameters count once
  multiplications: count, // the multiplications of one token with weights
  bytes: count, // the bytes of all weights
});
export type ExportSize = z.infer<typeof size>;
const state = z.strictObject({
  step: count,
  stateDigest: digest, // also the name of the artifact, whose bytes are the state's canonical bytes
  stateBytes: count,
  masksDigest: digest,
  expectedSparsity: z.number(),
  hardSparsity: z.number(),
  headsOpen: z.array(count), // in each layer
  unitsOpen: z.array(count),
  hiddenOpen: count,
  kvHeadsOpen: z.array(count).exactOptional(), // in each layer, those that an open head reads; only where the model has kvHeads
  size,
});
export type StateFact = z.infer<typeof state>;
/** A snapshot that a fork got from its parent, with the run whose training made it. */
const inheritedTeacher = z.strictObject({ mark: count, threshold: z.number(), state, ownerRunId: runId });
export type InheritedTeacher = z.infer<typeof inheritedTeacher>;

/** The form that an export has. */
const madeExport = z.strictObject({
  format: z.enum(EXPORT_FORMAT_NAMES),
  multipleOf: count,
  architecture: text, // the architecture that the export names
  contextLength: count, // the longest sequence for which the export computes what the student does
  hiddenSize: count,
  tensorBytes: count, // the bytes of the weights without the headers of their files, as the engine wrote them before any quantizer
  layers: z.array(z.strictObject({ heads: count, kvHeads: count, units: count })),
  notes: z.array(text),
});
export type MadeExport = z.infer<typeof madeExport>;
/** A speed as a multiple of the intact model's, with the interval that the median of many more rounds would lie in. */
const speedUp = z.strictObject({ times: z.number(), low: z.number(), high: z.number() });
const loaderProof = z.strictObject({
  loader: text,
  outcome: z.enum(['agrees', 'failed', 'untried']),
  negativeLogLikelihood: maybe, // null unless the loader agrees
  message: text,
});
export type LoaderProof = z.infer<typeof loaderProof>;
/** How far an export differs from the masked student in F32. */
const exportProof = z.strictObject({
  negativeLogLikelihood: z.number(), // the mean of the masked student in nats
  predictions: count,
  window: count,
  dataDigest: digest, // the digest of the tokens, the first of which were used
  loaders: z.array(loaderProof),
});
export type ExportProof = z.infer<typeof exportProof>;

const teacher = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('intact') }),
  z.strictObject({ kind: z.literal('none') }), // the step has no teacher
  z.strictObject({ kind: z.literal('snapshot'), mark: count, stateDigest: digest }),
]);
export type TeacherChoice = z.infer<typeof teacher>;
/**
 * Why a teacher instructs. run_start: it is the first teacher. capacity_gap: a new snapshot changed the teacher. post_target_phase: after
 * the target, teachers go from weak to strong. recipe: the recipe has one teacher or none. rewound: the run went back to an earlier state.
 * recovery: the run recovers from pruning.
 */
const teacherReason = z.enum(['run_start', 'capacity_gap', 'post_target_phase', 'recipe', 'rewound', 'recovery']);
export type TeacherReason = z.infer<typeof teacherReason>;
const phase = z.enum(['prune', 'recover']);
export type PhaseKind = z.infer<typeof phase>;

/** An artifact that a user had removed. An export is its manifest and its files, and each is an artifact. */
const discarded = z.strictObject({
  kind: z.enum(['state', 'export', 'tokens']),
  digest,
  bytes: count.nullable(), // null: the record does not tell
  step: count.nullable(), // the step of the state, or of the state that was exported; null for tokens
  marks: z.array(count), // the marks at which the state is a teacher
});
export type DiscardedArtifact = z.infer<typeof discarded>;
const segmentLoss = z.strictObject({
  mean: maybe, // null: every step of the segment was skipped
  last: maybe,
});
export type SegmentLoss = z.infer<typeof segmentLoss>;
/** The losses of the phase, summed over the refit's batches, before and after the refit. The refit is kept if it lowers the sum. */
const refit = z.strictObject({ kept: z.boolean(), lossBefore: z.number(), lossAfter: z.number() });
export type RefitOutcome = z.infer<typeof refit>;
/** A narrower attention or MLP of a layer, and what the intact model loses where this form alone is in place of its own. */
const scannedForm = z.strictObject({
  attention: z.boolean(), // else the MLP
  kept: count, // query heads, or units
  kl: z.number(), // nats a token from the intact model's predictions
  loss: z.number(), // the rise of the cross-entropy in nats a prediction
});
export type ScannedForm = z.infer<typeof scannedForm>;
const obstacle = z.strictObject({ code: text, message: text, field: text });
export type Obstacle = z.infer<typeof obstacle>;
/** The digests of a task that is not the text itself: its declaration, its rows, and the tokenizer. */
const taskDigests = z.strictObject({ prompt: digest, data: digest, tokenizer: digest });
export type TaskDigests = z.infer<typeof taskDigests>;
/** unstructured: by method and sparsity */
export type EvaluatedSubject = 'intact' | 'masked' | `export:${string}` | `unstructured:${'magnitude' | 'wanda'}:${number}`;
const subject = z
  .string()
  .regex(
    /^(intact|masked|export:[0-9a-f]{64}|unstructured:(magnitude|wanda):\d(\.\d+)?(e-\d+)?)$/,
  ) as unknown as z.ZodType<EvaluatedSubject>;

/** Seconds as an engine measured them for a run (docs/design/time.md). Rates of what the run does not have are 0. */
const stepRates = z.strictObject({
  stepOpen: z.number(), // a step of pruning with all gates open
  stepAtTarget: z.number(), // a step of pruning with the target's share of gates closed
  closing: z.number(), // the step of a recipe that prunes at once, with its calibration; all steps of a scan
  recoveryStart: z.number(), // what recovery begins with: the change to own weights, a refit
  recoveryStep: z.number(), // a step of recovery at the target's size
  segmentEnd: z.number(), // what the end of a segment takes beside its steps
  evaluationStart: z.number(), // what the two perplexities begin with
  evaluatedToken: z.number(), // a token of the intact model's perplexity
  evaluatedTokenAtTarget: z.number(), // and of the pruned model's
});
export type StepRates = z.infer<typeof stepRates>;

// Digests are empty until the run is prepared.
const unread = z.literal('').or(digest);
const launchedData = data.extend({ trainDigest: unread, tokenizerDigest: unread });
type Overrides = Partial<SettingValues> & { data?: DataIdentity };
/** The fields with which every run begins, whether launched or forked. */
const launch = {
  runId,
  name: text,
  tags: z.array(text).optional(),
  note: text.optional(),
  requestId: text,
  requestDigest: text,
  model: model.extend({ weightsDigest: unread }),
  data: launchedData,
  settings, // for a fork, the settings from here on
  following: z.array(settingName).exactOptional(), // only with a time: the settings whose defaults follow from the steps of StepsChosen
  /** Absent where the target is a sparsity. With a budget, all sparsities of the run are shares of its cost. */
  budget: budget.exactOptional(),
};

/** The fields of each event. */
export const eventFields = {
  RunLaunched: launch,
  RunForked: {
    ...launch,
    parentRunId: runId,
    parentRevision: count, // the parent's last event that the fork knows
    from: state,
    teacherMark: count.nullable(), // null: the fork starts from the parent's last state
    overrides: z.strictObject({ ...allOptional(settingShapes), data: launchedData.exactOptional() }) as unknown as z.ZodType<Overrides>,
    inheritedTeachers: z.array(inheritedTeacher), // the teachers on the branch up to `from`, least pruned first
    targetReachedStep: count.nullable(), // when the run reached the target that it has from here on
  },
  /** The model and the text were read, so their digests are known. */
  RunPrepared: { model, data, seconds: z.number().nonnegative() },
  /** A new attempt begins, and an engine is being prepared for it. From here on, reports of earlier attempts are refused. */
  AttemptStarted: { attempt: count, fromStep: count, stateDigest: digest.nullable() }, // a null digest means the fresh state
  /** The steps of a run with a time, chosen once by the rates of the engine that begins it. They hold for all that follows. */
  StepsChosen: {
    attempt: count,
    settings: z.strictObject(allOptional(settingShapes)) as unknown as z.ZodType<Partial<SettingValues>>, // those that the choice changes
    rates: stepRates,
    spentSeconds: z.number(), // what the run had taken so far: preparation, start of the engine and measuring
    expectedSeconds: z.number(), // of the whole run
  },
  /** The attempt's engine holds the model, the data and the state, and training starts. */
  EngineAttached: {
    attempt: count,
    engineVersion: text,
    engineBuild: text,
    backend: text,
    device: text,
    threads: count,
    numericsFingerprint: text,
    numericsChangedFrom: text.nullable(),
    evaluatesOnly: z.literal(true).exactOptional(), // all steps were done before, on other numerics: this engine trains nothing
    resumedFromStep: count,
    resumedFromStateDigest: digest, // the fresh state has a digest, too
    leaseMs: count, // the engine counts as dead after this time without a message from it
    engineName: text, // the name of its slot
  },
  /**
   * The teacher that instructs from `fromStep` on, and why. Where the teacher changes within a segment, this comes before the segment's
   * MasksUpdated.
   */
  TeacherAssigned: { fromStep: count, phase, teacher, reason: teacherReason, explanation: text },
  /** All steps of the phase before are done. If the phase is recovery, the deterministic masks of the state are frozen from here on. */
  PhaseStarted: { attempt: count, phase, fromStep: count, endStep: count, stateDigest: digest, masksDigest: digest },
  SparsityAdvanced: { attempt: count, step: count, scheduledSparsity: z.number(), expectedSparsity: z.number(), hardSparsity: z.number() },
  /** The state after the steps from `firstStep` to before `state.step`. The state is stored durably before this event is. */
  MasksUpdated: {
    attempt: count,
    phase,
    firstStep: count,
    state,
    loss: segmentLoss,
    trainingSeconds: z.number(),
    tokens: count,
    metricsRevision: count,
    metricsDigest: digest, // the SHA-256 of the segment's StepsMeasured in the metrics stream
    openDigest: digest, // the digest of the gates that the masks leave open, one bit each (gate-set.ts)
    refit: refit.optional(), // the refit that the segment began with, if there was one
  },
  /** A scan scored the narrower forms of a layer: those of attention, then those of the MLP, the widest first. */
  LayerScanned: { attempt: count, layer: count, forms: z.array(scannedForm) },
  TeacherSnapshotted: { attempt: count, phase, mark: count, threshold: z.number(), state },
  /** Recorded steps were computed again, from a recorded state, and what came out was compared with the record. */
  StepsReplayed: {
    cause: z.enum(['verification', 'retraining']), // retraining: after a rewind, the run came to a state again that it had had before
    engineName: text, // the name of its slot; '': a process that the server started for the check
    isOtherEngine: z.boolean(), // whether it is known to be another engine than the one that had trained the steps
    device: text,
    numericsFingerprint: text,
    tolerance: maybe, // the relative difference that counts as none; null: the states have equal bits
    stretches: z.array(z.strictObject({ firstStep: count, endStep: count, stateDigest: digest, agrees: z.boolean() })),
  },
  TargetSparsityReached: { step: count, expectedSparsity: z.number(), targetSparsity: z.number(), remainingSteps: count },
  StepsSkipped: { attempt: count, steps: z.array(count), cause: z.literal('non_finite') },
  /** The attempt ended without a result: its engine died, hung or failed, or the orchestrator died with it. */
  EngineLost: {
    attempt: count,
    cause: z.enum(['engine', 'orchestrator']),
    code: text,
    message: text,
    lastStep: count, // the last recorded step; later steps of the attempt are trained again
    reachedStep: count.optional(), // the steps done when the engine reported its last one; absent if it reported none
    restartDelayMs: z.number().nonnegative(),
  },
  /** A user asked for a pause. The run pauses at the next step boundary. */
  RunPauseRequested: { step: count },
  /** After a shutdown the run goes on by itself. At an obstacle it waits until a user has removed the cause and resumes the run. */
  RunPaused: { step: count, by: z.enum(['request', 'shutdown', 'obstacle']), cause: obstacle.optional() },
  RunResumed: { fromStep: count, stateDigest: digest.nullable(), acceptOtherNumerics: z.boolean() },
  /** The events from `abandonedFromRevision` up to this one become an abandoned branch: stored and marked, but not in the run's state. */
  RunRewound: {
    toStep: count,
    state: state.nullable(), // null: the fresh state that follows from the seed
    teacherMark: count.nullable(), // null: the run rewound itself, because the artifact of a later state is damaged
    abandonedFromRevision: count,
    acceptOtherNumerics: z.boolean(),
    targetReachedStep: count.nullable(),
  },
  /** A caller gave the run another priority. No result depends on it. */
  RunPrioritized: { priority: z.number().int() },
  RunCompleted: {
    step: count,
    stateDigest: digest,
    hardSparsity: z.number(),
    /** The sparsity that the run reached and the one that it was asked for. */
    expectedSparsity: z.number(),
    targetSparsity: z.number(),
    trainingSeconds: z.number(),
    evaluationError: z.strictObject({ code: text, message: text }).nullable(), // why the evaluation at the end is missing
  },
  RunFailed: { step: count, code: text, message: text, field: text },
  /** The run does not go on by itself, but a RunRewound can take it up again from a teacher. */
  RunCancelled: { step: count, reason: text },
  EvaluationRecorded: {
    subject,
    step: count,
    stateDigest: digest.nullable(),
    teacherMark: count.nullable(),
    task: text,
    metric: text,
    value: z.number(),
    stderr: maybe, // null: the metric has no standard error
    n: count, // the number of predictions or questions that the value is the mean of
    convention: text, // in words: Measure.convention of the orchestrator
    details: z.record(text, z.number()), // other results by their names
    dataDigest: text,
    dataPath: text.exactOptional(), // absent for the run's own text
    digests: taskDigests.exactOptional(), // only of a task that is not the text itself; dataDigest then names no artifact
    samplesDigest: digest.exactOptional(), // an artifact in JSON Lines with the result of each question
    /** The numerics of the evaluating engine where it had others than the training. Absent for exports. */
    numericsFingerprint: text.exactOptional(),
  },
  /** The speed of a state's pruned model or of an export, measured in turns with the intact model. */
  SpeedRecorded: {
    subject,
    step: count,
    stateDigest: digest,
    teacherMark: count.nullable(),
    backend: text,
    device: text,
    threads: count,
    computeDtype: text, // in which both models were stored
    batch: count, // the sequences that were decoded together
    promptTokens: count, // of each sequence, before the first new token
    tokens: count, // decoded after them
    rounds: count,
    prefill: speedUp,
    decode: speedUp,
  },
  ModelExported: {
    exportDigest: digest,
    form: z.enum(['masked', 'compacted', 'padded', 'blocks']),
    dtype: text,
    step: count,
    stateDigest: digest,
    teacherMark: count.nullable(),
    parameterCount: count,
    bytes: count,
    files: z.array(z.strictObject({ name: text, bytes: count, digest })),
    made: madeExport,
    proof: exportProof.exactOptional(), // absent where the proof was skipped
  },
  /** The name, tags and note of the run. A field that is absent did not change. */
  RunDescribed: { name: text.optional(), addedTags: z.array(text), removedTags: z.array(text), note: text.optional() },
  /**
   * A user had artifacts removed. The event is stored before the bytes are removed, and the next start completes a removal that a crash cut
   * short. A removed state is no longer a teacher.
   */
  ArtifactsDiscarded: {
    reason: text,
    keepEvery: count.nullable(), // only every n-th teacher was kept; null: all were
    abandoned: z.boolean(), // teachers of abandoned branches were removed, too
    exports: z.boolean(),
    artifacts: z.array(discarded),
  },
  /** The last event of a run. Its stream stays, and all artifacts that only this run needed are removed. */
  RunDeleted: { step: count, reason: text, artifacts: z.array(discarded) },
};
export type EventData<T extends KnownType> = z.infer<z.ZodObject<(typeof eventFields)[T]>>;

/** The user who asked for the change. */
const context = z.strictObject({ actor: text, roles: z.array(text), requestId: text.optional() }).optional();
const envelope = { at: z.iso.datetime({ precision: 3 }), chain: digest, context };

type Fields = Record<string, unknown>;
/** The fields of a former version of an event, and how they become those of the version after it. */
export interface FormerVersion {
  readonly fields: z.ZodRawShape;
  readonly upcast: (fields: Fields) => Fields;
}

/** The former versions of each event, from version 1. The fields above are the version after the last of them. */
export const formerVersions: { readonly [T in KnownType]?: readonly FormerVersion[] } = {};

/** Reads the events of a run as each release stored them. */
export class EventVersions {
  private readonly schemas: Record<string, z.ZodType[]>;

  constructor(private readonly former: typeof formerVersions) {
    this.schemas = Object.fromEntries(
      Object.entries(eventFields).map(([type, newest]) => {
        const shapes = [...this.formerOf(type).map(({ fields }) => fields), newest];
        return [type, shapes.map((shape, index) => z.strictObject({ v: z.literal(index + 1), ...envelope, ...shape }))];
      }),
    );
  }

  isKnown(type: string): boolean {
    return isKnownType(type);
  }

  /** Returns the version in which this release stores the type. */
  versionOf(type: string): number {
    return 1 + this.formerOf(type).length;
  }

  /** Returns the schema of an event of the given version as it is stored. */
  schema(type: KnownType, version: number): z.ZodType {
    return this.schemas[type]?.[version - 1] ?? z.never();
  }

  /** Returns an event's fields, without those of the envelope, as the newest version has them. */
  upcast(type: string, version: number, fields: Fields): Fields {
    return this.formerOf(type)
      .slice(Math.max(0, version - 1))
      .reduce((former, { upcast }) => upcast(former), fields);
  }

  private formerOf(type: string): readonly FormerVersion[] {
    return this.former[type as KnownType] ?? [];
  }
}

export const eventVersions = new EventVersions(formerVersions);

export type CheckedEvent<T extends KnownType> = EventData<T> & {
  v: number;
  at: string;
  chain: string;
  context?: z.infer<typeof context>;
};
export type KnownType = keyof typeof eventFields;

export function isKnownType(type: string): type is KnownType {
  return Object.hasOwn(eventFields, type);
}

/** Describes the fields that do not fit, with their paths; null if all fit. */
export function schemaProblem(schema: z.ZodType, value: unknown): string | null {
  const result = schema.safeParse(value);
  if (result.success) return null;
  return result.error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.join('.') || 'event'}: ${issueWords(issue)}`)
    .join('; ');
}

/**
 * Releases add fields to events of the same version, so the checker reports a field that this release does not know as a possible addition
 * of a later one.
 */
const issueWords = (issue: z.core.$ZodIssue): string =>
  issue.code === 'unrecognized_keys' ? `has ${issue.keys.join(', ')}, which this release does not know: ${CAN_BE_CHECKED}` : issue.message;

/** Tells whether an event, converted to the newest version, has all required fields of its type. Additional fields do not matter here. */
export function hasItsFields(type: KnownType, { data, at, chain }: { data: object; at: string; chain: string }): boolean {
  const v = eventVersions.versionOf(type);
  const result = eventVersions.schema(type, v).safeParse({ ...data, at, chain, v });
  return result.success || result.error.issues.every(({ code }) => code === 'unrecognized_keys');
}
