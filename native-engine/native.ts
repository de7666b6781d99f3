// The types of the native addon, as addon/ exports it. Only index.ts uses the addon directly.
import type { engineV1 } from '#protocol';
import type {
  ExportedModel,
  ExportOptions,
  ExportSize,
  MeasuredSpeedTable,
  MeasureOptions,
  SpeedResult,
  SpeedTableOptions,
} from './native-exports.js';

export type * from './native-exports.js';

export type ComputeDtype = 'f32' | 'bf16';
/** Settings by their names in events. core/session/settings.h says which settings the engine takes for which use. */
export type Settings = Readonly<Record<string, number | bigint | boolean | string | readonly string[]>>;

export interface EngineDescription {
  build: string; // the digest of the native sources, and the compiler
  devices: DeviceDescription[]; // the preferred ones first
  peakResidentBytes: number;
}

export interface DeviceDescription {
  name: string; // the name that TrainerOptions.device accepts
  model: string; // the processor or card, in words
  instructionSet: string; // the kernels in use; for a card also the library for its products, or why it uses none
  threads: number; // the host's threads that are used when no number is asked for
  memoryBytes: number;
  memoryAvailableBytes: number;
  problem: string; // why the device can't be used now; empty: it can
}

export interface LayerWidth {
  heads: number;
  kvHeads: number;
  intermediate: number;
}

export interface ModelDescription {
  architecture: string;
  hiddenSize: number;
  layerCount: number;
  headCount: number;
  kvHeadCount: number;
  headDim: number;
  intermediateSize: number;
  vocabSize: number;
  maxPositions: number;
  bosTokenId: number; // -1: the model has none
  tiedEmbeddings: boolean;
  parameterCount: number; // tied parameters count once
  prunableParameterCount: number; // the parameters of all projections; sparsity is a share of them
  weightBytes: number;
  weightsDigest: string;
  dtype: 'f32' | 'f16' | 'bf16';
  layers: LayerWidth[];
  tensors: TensorCount[]; // all parameters of the model
}

/** The parameters of all tensors of one kind that shrink with the same gates. core/session/session_core.h explains the words. */
export interface TensorCount {
  kind: 'embedding' | 'lm_head' | 'projection' | 'value' | 'output' | 'down' | 'norm' | 'vector';
  part: 'none' | 'head' | 'kv_head' | 'unit';
  parameters: number;
  bytes: number; // as the model stores them
}

/** The shapes that the masks of a state keep from its first step on. */
export interface ShapeTarget {
  multipleOf: number; // 1 to 1,024: the open units of each layer, and the open hidden units, are multiples of it
  uniform: boolean; // all layers have the same number of open heads, and of open units
  wholeAttention: boolean; // a layer keeps all of its heads, or none
  exactSize: boolean; // without shapes: the number of open parameters is the one that the probabilities give, to half a unit
  /**
   * The costs of a head, a unit, a key/value head and the rest: first the costs in proportion to the hidden units, then the fixed ones.
   * Absent: the cost is the number of parameters.
   */
  cost?: readonly number[];
}

export interface TrainerOptions {
  settings: Settings; // all settings for opening a session
  threads: number; // 0: all that the process may use
  memoryLimitBytes: number; // 0: the free memory
  /** The share of the prunable parameters that is gone when the model's own weights begin to learn. Only the plan of memory uses it. */
  plannedSparsity?: number | undefined;
  teachers: number; // the most snapshots that instruct the run; with 0 none is kept in memory
  sliceBytes: number; // a state that is larger is kept in slices of this size: a multiple of 4,096, up to 2 GiB
  device: string; // "auto", or the name of a device
}

export interface MemoryPlan {
  weightsBytes: number;
  loraBytes: number;
  /** The size of a state's file while LoRA learns. */
  stateBytes: number;
  /** The size of a state's file while the model's own weights learn; 0 if they never do. */
  ownStateBytes: number;
  optimizerBytes: number;
  activationsBytes: number;
  teachersBytes: number;
  scratchBytes: number;
  totalBytes: number;
  availableBytes: number; // on the device
  hostBytes: number; // the machine's memory if the device has memory of its own; else 0
  hostAvailableBytes: number;
  devices: number; // the number of devices that compute in a step
  devicesThere: number; // the number of devices that the session was given
  change: MemoryChange | null; // the smallest change with which it fits; null if it fits, or nothing helps
}

export interface MemoryChange {
  batchSize: number;
  sequenceLength: number;
  checkpointActivations: boolean;
  streamWeights: boolean;
  totalBytes: number; // the bytes that the run takes with the change
}

export interface StateSummary {
  step: number;
  digest: string;
  expectedSparsity: number;
  hardSparsity: number;
  open: { heads: number; intermediate: number }[]; // for each layer
  hiddenOpen: number;
  masksDigest: string;
  openUnits: Uint8Array; // all heads, then all units, then the hidden units: gate g is bit g % 8 of byte g / 8
  size: ExportSize; // the size of its compacted export, stored as the model is
}

/** The protocol's own message, so that no figure of a step is renamed between the core and the server. */
export type StepReport = engineV1.StepReport & { endedAt: number }; // in seconds, on the clock of process.hrtime

/** The steps that one teacher teaches, from `firstStep` up to the next stretch. */
export interface TeacherStretch {
  firstStep: number;
  digest?: string | undefined; // the digest of a teacher in memory; absent: the intact model
}

/** A one-step pruning first closes the parts with the smallest weights, the smallest outputs on text, or the least effect on the loss. */
export type Importance = 'magnitude' | 'wanda' | 'taylor' | 'fisher';

export interface SegmentOptions {
  firstStep: number; // must be the state's step
  settings: Settings; // all settings for training a segment
  losses: { layer: number; kl: number; lm: number; temperature: number };
  trainMasks: boolean; // false: the deterministic masks hold, and only LoRA learns
  /** Makes the segment's one step a one-step pruning, which trains nothing: it closes heads and units down to the scheduled sparsity. */
  oneShot?: { importance: Importance; calibrationSequences: number } | undefined;
  momentsFromStep?: number | undefined; // LoRA's moments are 0 at this step and count from it; 0 when absent
  loraLearningRate: readonly number[] | Float64Array; // one value for each step
  scheduledSparsity: readonly number[] | Float64Array; // one value for each step
  stopAtExpectedSparsity?: number | undefined; // the segment ends when a state reaches it, and that state is kept as a teacher
  secondsAtMost?: number | undefined; // no step begins that would end later, except the first
  teachers?: readonly TeacherStretch[] | undefined; // in order, the first from firstStep on; absent: the intact model throughout
  nextTeacher?: string | undefined; // the digest of the teacher of the steps after the segment, if it is known
  /** The files of teachers that need not be in memory. Each is read before its turn comes, while other steps are trained. */
  teacherFiles?: readonly { digest: string; file: string }[] | undefined;
  returnState: boolean;
  /** Where to write a state in slices that is returned: to this path "-" and the state's step are added. */
  stateFolder?: string | undefined;
  /** The caller computes the digest, and the result's is ''. A state that is kept as a teacher then waits for its name (nameTeacher). */
  digestLater?: boolean | undefined;
}

export interface SegmentResult {
  state: StateSummary;
  stateBytes: Uint8Array | null; // null unless returnState, and where the state is in slices
  stateFolder: string; // the folder of a returned state in slices, which has its digest; '': it is not in slices
  stateSize: number; // the bytes of the state, handed out or not
  stateSeconds: number; // the seconds that writing slices took, which are among those of the segment
  teachers: string[]; // the digests of the teachers in memory; a teacher without a digest is called as in keptAs
  /** The name of the state as a teacher until nameTeacher gives it its digest; '': it has its digest, or is not a teacher. */
  keptAs: string;
  stepsDone: number;
  stopped: boolean; // ended by cancel()
  openUnitsBefore: Uint8Array; // the open units of the state at the segment's start, as in StateSummary
  refit: RefitOutcome | null; // the refit at the segment's start; null: there was none
  seconds: number;
}

/** The losses of the phase on the refit's batches, summed, before and after the refit. The refit is kept if it lowers the loss. */
export interface RefitOutcome {
  kept: boolean;
  lossBefore: number;
  lossAfter: number;
}

export interface EvaluateOptions {
  ids: Uint32Array;
  window: number;
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
  intact: boolean; // without masks and LoRA
  modelFolder?: string | undefined; // the folder of another model than the session's
  /** Evaluates the intact model with this share of each projection's single weights set to 0. wanda looks at the session's text. */
  unstructured?: { importance: 'magnitude' | 'wanda'; sparsity: number; calibrationSequences: number; seed: bigint } | undefined;
  /** Evaluates the intact model with a part of the state's masks: those of one layer or of all, of the kinds that are true. */
  closings?: { layer?: number | undefined; heads: boolean; units: boolean; hidden: boolean } | undefined;
}

export interface EvaluationResult {
  zeroShare: number; // the share of zeros among the projections' weights, if single weights were set to 0
  closedGates: number; // the number of closed heads, units and hidden units, if a part of the masks was asked for
  negativeLogLikelihood: number; // in nats, for each prediction
  perplexity: number;
  predictions: number;
}

export interface ScorerOptions {
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
  intact: boolean; // without masks and LoRA
  modelFolder?: string | undefined; // the folder of another model than the session's
}

export interface GenerateOptions {
  prompts: readonly GeneratePrompt[];
  endTokens: Uint32Array; // the tokens of which each ends a text
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
  intact: boolean; // without masks and LoRA
  modelFolder?: string | undefined; // the folder of another model than the session's
}

/**
 * A batch of sequences, one after the other. The last `scored` tokens of each are scored, and the tokens before them are their context.
 */
export interface ScoreBatch {
  ids: Uint32Array;
  lengths: Uint32Array;
  scored: Uint32Array;
}

export interface Scores {
  logLikelihoods: Float64Array; // the sum over a sequence's scored tokens, in nats
  greedy: Uint8Array; // 1: each scored token is the likeliest one
}

export interface GeneratePrompt {
  ids: Uint32Array;
  maxTokens: number;
  temperature: number; // 0: always the likeliest token
  topP: number; // only the likeliest tokens, which together have this probability, can be chosen; 1: all
  seed: bigint;
}

export interface GeneratedToken {
  prompt: number; // the index of the prompt in the request
  id: number;
  finish: '' | 'end' | 'length'; // end: the token is one of endTokens
}

export interface GenerationResult {
  promptTokens: number;
  generatedTokens: number;
  decodePasses: number; // the passes for single tokens; each reads the weights once
  prefillSeconds: number;
  decodeSeconds: number;
  weightBytes: number; // the bytes that a pass reads
  cacheBytes: number; // the bytes of the keys and values
}

/** A source of a training text, and its parts of the sequences. Its words are in memory, or in files, one after the other. */
export type TokenSource = { parts: number } & ({ ids: Uint32Array } | { files: TokenFile[] });
export interface TokenFile {
  path: string;
  /** The SHA-256 of the file. */
  digest: string;
  tokens: number;
}

/**
 * Promises reject with, and methods throw, errors with `code` and `field`. A session does one job at a time, and refuses others with
 * ENGINE_BUSY.
 */
export interface NativeSession {
  load(options: { folder: string; readWeights: boolean }): Promise<ModelDescription>;
  planMemory(options: TrainerOptions & { folder: string }): Promise<MemoryPlan>;
  open(options: TrainerOptions): Promise<number>; // called after load; returns the number of teachers that stay in memory
  release(): Promise<void>;
  setData(options: { sources: TokenSource[] }): Promise<number>; // returns the number of rows
  initialise(options: { seed: bigint; closed: number; shape?: ShapeTarget }): Promise<StateSummary>;
  /** The state is in a file, or in slices in a folder. It must have the digest, unless that is ''. */
  importState(options: { stateFile: string; digest: string }): Promise<StateSummary>;
  exportState(): Promise<{ digest: string; bytes: Uint8Array }>;
  nameTeacher(options: { keptAs: string; digest: string }): void; // may be called while a job runs
  summary(): Promise<StateSummary>;
  describeState(options: { stateFile: string }): Promise<StateSummary>; // of a file; its digest is ''
  loadTeacher(options: { digest: string; stateFile: string; isCompared: boolean }): Promise<string[]>;
  /** A number among the reports is the share of the calibration that is done, in a one-step pruning or a refit. */
  train(options: SegmentOptions, onReports?: (reports: (StepReport | number)[]) => void): Promise<SegmentResult>;
  evaluate(options: EvaluateOptions, onReports?: (doneShares: number[]) => void): Promise<EvaluationResult>;
  openScorer(options: ScorerOptions): Promise<void>;
  score(batch: ScoreBatch, onReports?: (doneShares: number[]) => void): Promise<Scores>; // called after openScorer
  closeScorer(): Promise<void>;
  generate(options: GenerateOptions, onReports?: (tokens: GeneratedToken[]) => void): Promise<GenerationResult>;
  stopText(options: { prompt: number }): void; // the running generation makes no further token of this text
  measureSpeed(options: MeasureOptions, onReports?: (doneShares: number[]) => void): Promise<SpeedResult>;
  measureSpeedTable(options: SpeedTableOptions, onReports?: (doneShares: number[]) => void): Promise<MeasuredSpeedTable>;
  exportModel(options: ExportOptions, onReports?: (doneShares: number[]) => void): Promise<ExportedModel>;
  cancel(): void; // ends the running job at its next step
}

/** The settings, by the use for which the engine takes them. */
export interface EngineSettings {
  session: Settings;
  training: Settings;
}

export interface WrittenBytes {
  digest: string;
  written: boolean; // false: the file can't be written, and is not there
}

export interface NativeAddon {
  interface: string; // the digest of the sources that decide what the addon takes and returns
  describe(): EngineDescription;
  device(name: string): DeviceDescription; // the device that the name stands for
  numericsFingerprint(options: TrainerOptions): string;
  /**
   * Returns the values that the core computes with for these settings. For missing ones these are its own defaults, which only its tests
   * and tools use.
   */
  settingsInEffect(given: EngineSettings): EngineSettings;
  releaseBytes(bytes: Uint8Array): void; // the bytes of a result, which are empty afterwards
  /** Makes the digest of a result's bytes and, with a path, a new file of them. They must not be released before it is done. */
  writeBytes(options: { bytes: Uint8Array; path: string }): Promise<WrittenBytes>;
  lockFile(descriptor: number, exclusive: boolean): boolean; // false: another process has the lock
  endJobs(): void; // cancels all jobs and waits until they have ended
  Session: new () => NativeSession;
}
