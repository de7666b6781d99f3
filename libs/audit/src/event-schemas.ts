// The schema of each event, field by field. An event may have no other fields.
import { z } from 'zod';
import type { SettingValues } from '#protocol';
import { budget, count, settingName, settings, settingShapes, text } from './settings-schema.js';

export { count, text } from './settings-schema.js';
export const NEWEST_VERSION = 1;
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
  kvHeads: count.exactOptional(),
});
const data = z.strictObject({
  trainPath: text,
  trainDigest: digest,
  trainTokens: count,
  validationPath: text.nullable(),
  validationDigest: digest.nullable(),
  validationTokens: count,
  tokenizerDigest: digest,
  trainParts: z.array(count).optional(),
  trainSources: z.array(z.strictObject({ parts: count, shards: z.array(z.strictObject({ digest, tokens: count })) })).optional(),
  moreTrainPaths: z.array(text).optional(),
  moreValidationPaths: z.array(text).optional(),
  textColumn: text.optional(),
  validationTextColumn: text.optional(),
  responseOnly: z.literal(true).optional(),
  maxTrainTokens: count.optional(),
  maxValidationTokens: count.optional(),
});
const state = z.strictObject({
  step: count,
  stateDigest: digest,
  stateBytes: count,
  masksDigest: digest,
  expectedSparsity: z.number(),
  hardSparsity: z.number(),
  headsOpen: z.array(count),
  unitsOpen: z.array(count),
  hiddenOpen: count,
  kvHeadsOpen: z.array(count).exactOptional(),
  size: z.strictObject({ parameterCount: count, multiplications: count, bytes: count }),
});
const madeExport = z.strictObject({
  format: z.enum(['masked', 'hf', 'hf-remote', 'vllm', 'gguf']),
  multipleOf: count,
  architecture: text,
  contextLength: count,
  hiddenSize: count,
  tensorBytes: count,
  layers: z.array(z.strictObject({ heads: count, kvHeads: count, units: count })),
  notes: z.array(text),
});
const exportProof = z.strictObject({
  negativeLogLikelihood: z.number(),
  predictions: count,
  window: count,
  dataDigest: digest,
  loaders: z.array(
    z.strictObject({ loader: text, outcome: z.enum(['agrees', 'failed', 'untried']), negativeLogLikelihood: maybe, message: text }),
  ),
});
const teacher = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('intact') }),
  z.strictObject({ kind: z.literal('none') }),
  z.strictObject({ kind: z.literal('snapshot'), mark: count, stateDigest: digest }),
]);
const discarded = z.array(
  z.strictObject({
    kind: z.enum(['state', 'export', 'tokens']),
    digest,
    bytes: count.nullable(),
    step: count.nullable(),
    marks: z.array(count),
  }),
);
// Digests are empty until the run is prepared.
const unread = z.literal('').or(digest);
const launchedModel = model.extend({ weightsDigest: unread });
const launchedData = data.extend({ trainDigest: unread, tokenizerDigest: unread });
type Overrides = Partial<SettingValues> & { data?: z.infer<typeof launchedData> };
const launch = {
  tags: z.array(text).optional(),
  note: text.optional(),
  runId,
  name: text,
  requestId: text,
  requestDigest: text,
  model: launchedModel,
  data: launchedData,
  settings,
  following: z.array(settingName).exactOptional(),
  budget: budget.exactOptional(),
};

const phase = z.enum(['prune', 'recover']);
const assigned = {
  fromStep: count,
  teacher,
  reason: z.enum(['run_start', 'capacity_gap', 'post_target_phase', 'recipe', 'rewound', 'recovery']),
  explanation: text,
};
const segment = {
  attempt: count,
  firstStep: count,
  state,
  loss: z.strictObject({ mean: maybe, last: maybe, layerMean: maybe, klMean: maybe, lmMean: maybe }),
  trainingSeconds: z.number(),
  tokens: count,
  metricsRevision: count,
  metricsDigest: digest,
  openDigest: digest.optional(),
  refit: z.strictObject({ kept: z.boolean(), lossBefore: z.number(), lossAfter: z.number() }).optional(),
};
const snapshot = { attempt: count, mark: count, threshold: z.number(), state };
const evaluated = {
  subject: z
    .string()
    .regex(
      /^(intact|masked|export:[0-9a-f]{64}|unstructured:(magnitude|wanda):\d(\.\d+)?(e-\d+)?|closings:(all|heads|units|hidden)(:\d+)?)$/,
    ),
  step: count,
  stateDigest: digest.nullable(),
  teacherMark: count.nullable(),
  dataDigest: text,
  dataPath: text.exactOptional(),
};

const facts = {
  RunLaunched: { ...launch },
  RunForked: {
    ...launch,
    parentRunId: runId,
    parentRevision: count,
    from: state,
    teacherMark: count.nullable(),
    overrides: z.strictObject({ ...allOptional(settingShapes), data: launchedData.exactOptional() }) as unknown as z.ZodType<Overrides>,
    inheritedTeachers: z.array(z.strictObject({ mark: count, threshold: z.number(), state, ownerRunId: runId })),
    targetReachedStep: count.nullable(),
  },
  RunPrepared: { model, data, seconds: z.number().nonnegative() },
  AttemptStarted: { attempt: count, fromStep: count, stateDigest: digest.nullable() },
  StepsChosen: {
    attempt: count,
    settings: z.strictObject(allOptional(settingShapes)) as unknown as z.ZodType<Partial<SettingValues>>,
    rates: z.strictObject({
      stepOpen: z.number(),
      stepAtTarget: z.number(),
      closing: z.number(),
      recoveryStart: z.number(),
      recoveryStep: z.number(),
      segmentEnd: z.number(),
      evaluationStart: z.number(),
      evaluatedToken: z.number(),
      evaluatedTokenAtTarget: z.number(),
    }),
    spentSeconds: z.number(),
    expectedSeconds: z.number(),
  },
  EngineAttached: {
    attempt: count,
    engineVersion: text,
    engineBuild: text,
    backend: text,
    device: text,
    threads: count,
    numericsFingerprint: text,
    numericsChangedFrom: text.nullable(),
    evaluatesOnly: z.literal(true).exactOptional(),
    resumedFromStep: count,
    resumedFromStateDigest: digest,
    leaseMs: count,
    engineName: text,
  },
  TeacherAssigned: { ...assigned, phase },
  SparsityAdvanced: { attempt: count, step: count, scheduledSparsity: z.number(), expectedSparsity: z.number(), hardSparsity: z.number() },
  MasksUpdated: { ...segment, phase },
  TeacherSnapshotted: { ...snapshot, phase },
  PhaseStarted: { attempt: count, phase, fromStep: count, endStep: count, stateDigest: digest, masksDigest: digest },
  TargetSparsityReached: { step: count, expectedSparsity: z.number(), targetSparsity: z.number(), remainingSteps: count },
  StepsSkipped: { attempt: count, steps: z.array(count), cause: z.literal('non_finite') },
  EngineLost: {
    attempt: count,
    cause: z.enum(['engine', 'orchestrator']),
    code: text,
    message: text,
    lastStep: count,
    reachedStep: count.optional(),
    restartDelayMs: z.number().nonnegative(),
  },
  RunPauseRequested: { step: count },
  RunPaused: {
    step: count,
    by: z.enum(['request', 'shutdown', 'obstacle']),
    cause: z.strictObject({ code: text, message: text, field: text }).optional(),
  },
  RunResumed: { fromStep: count, stateDigest: digest.nullable(), acceptOtherNumerics: z.boolean() },
  RunRewound: {
    toStep: count,
    state: state.nullable(),
    teacherMark: count.nullable(),
    abandonedFromRevision: count,
    acceptOtherNumerics: z.boolean(),
    targetReachedStep: count.nullable(),
  },
  RunCompleted: {
    step: count,
    stateDigest: digest,
    hardSparsity: z.number(),
    expectedSparsity: z.number(),
    targetSparsity: z.number(),
    trainingSeconds: z.number(),
    evaluationError: z.strictObject({ code: text, message: text }).nullable(),
  },
  RunFailed: { step: count, code: text, message: text, field: text },
  RunCancelled: { step: count, reason: text },
  EvaluationRecorded: {
    ...evaluated,
    task: text,
    metric: text,
    value: z.number(),
    stderr: maybe,
    n: count,
    convention: text,
    details: z.record(text, z.number()),
    digests: z.strictObject({ prompt: digest, data: digest, tokenizer: digest }).exactOptional(),
    samplesDigest: digest.exactOptional(),
    numericsFingerprint: text.exactOptional(),
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
    proof: exportProof.exactOptional(),
  },
  RunDescribed: { name: text.optional(), addedTags: z.array(text), removedTags: z.array(text), note: text.optional() },
  ArtifactsDiscarded: { reason: text, keepEvery: count.nullable(), abandoned: z.boolean(), exports: z.boolean(), artifacts: discarded },
  RunDeleted: { step: count, reason: text, artifacts: discarded },
};

/** The user who asked for the change. */
const context = z.strictObject({ actor: text, roles: z.array(text), requestId: text.optional() }).optional();
const envelope = { at: z.iso.datetime({ precision: 3 }), chain: digest, context };
type FactName = keyof typeof facts;

const schemas: Record<string, z.ZodType> = Object.fromEntries(
  Object.entries(facts).map(([type, shape]) => [type, z.strictObject({ v: z.literal(NEWEST_VERSION), ...envelope, ...shape })]),
);

/** Returns the schema of an event of the given version as it is stored. */
export function eventSchema(type: KnownType, version: number): z.ZodType {
  return version === NEWEST_VERSION ? schemas[type]! : z.never();
}

export type CheckedEvent<T extends FactName> = z.infer<z.ZodObject<(typeof facts)[T]>> & {
  v: typeof NEWEST_VERSION;
  at: string;
  chain: string;
  context?: z.infer<typeof context>;
};
export type KnownType = FactName;

export function isKnownType(type: string): type is KnownType {
  return Object.hasOwn(facts, type);
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
  const result = eventSchema(type, NEWEST_VERSION).safeParse({ ...data, at, chain, v: NEWEST_VERSION });
  return result.success || result.error.issues.every(({ code }) => code === 'unrecognized_keys');
}
