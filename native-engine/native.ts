// The shape of the native addon, as addon/ exports it. Nothing outside index.ts uses this directly.
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
/** Values of settings by the names that events have for them: batchSize. core/session/settings.h says which the engine takes where. */
export type Settings = Readonly<Record<string, number | bigint | boolean | string | readonly string[]>>;

export interface EngineDescription {
  build: string; // digest of the native sources, compiler
  devices: DeviceDescription[]; // preferred ones first
  peakResidentBytes: number;
}

export interface DeviceDescription {
  name: string; // as TrainerOptions.device takes it
  model: string; // processor or card, in words
  instructionSet: string; // kernels in use; of a card also which library makes its products, or why none does
  threads: number; // of the host, where none are asked for
  memoryBytes: number;
  memoryAvailableBytes: number;
  problem: string; // why it can't be used now; empty: it can
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
  bosTokenId: number; // -1: none
  tiedEmbeddings: boolean;
  parameterCount: number; // tied ones once
  prunableParameterCount: number; // of all projections: what sparsity is a share of
  weightBytes: number;
  weightsDigest: string;
  dtype: 'f32' | 'f16' | 'bf16';
  layers: LayerWidth[];
}

/** Shapes that the masks of a state are held to from its first step on. */
export interface ShapeTarget {
  multipleOf: number; // 1 to 1,024: of open units in each layer, and of open hidden units
  uniform: boolean; // all layers have as many open heads, and as many open units
  wholeAttention: boolean; // a layer has all its heads or none
  exactSize: boolean; // without shapes: as many open parameters as the probabilities say, to half a unit
  /** Costs of a head, a unit, a key/value head, the rest; in proportion to open hidden units, then alone. None: prunable parameters. */
  cost?: readonly number[];
}

export interface TrainerOptions {
  settings: Settings; // all that a session is opened with
  threads: number; // 0: all the process may use
  memoryLimitBytes: number; // 0: what is free
  /** Where own weights will learn: the share of the prunable parameters that is gone by then, for the plan of memory. */
  plannedSparsity?: number | undefined;
  device: string; // "auto", or the name of a device
}

export interface MemoryPlan {
  weightsBytes: number;
  loraBytes: number;
  /** Size of a state's file while LoRA learns. */
  stateBytes: number;
  /** The same where own weights will learn; else 0. */
  ownStateBytes: number;
  optimizerBytes: number;
  activationsBytes: number;
  teachersBytes: number;
  scratchBytes: number;
  totalBytes: number;
  availableBytes: number; // of the device
  hostBytes: number; // of the machine, where the device has memory of its own; else 0
  hostAvailableBytes: number;
  devices: number; // that compute in a step
  devicesThere: number; // that the session was given
  change: MemoryChange | null; // the smallest that makes it fit where it does not
}

export interface MemoryChange {
  batchSize: number;
  sequenceLength: number;
  checkpointActivations: boolean;
  streamWeights: boolean;
  totalBytes: number; // that the run takes then
}

export interface StateSummary {
  step: number;
  digest: string;
  expectedSparsity: number;
  hardSparsity: number;
  open: { heads: number; intermediate: number }[]; // by layer
  hiddenOpen: number;
  masksDigest: string;
  openUnits: Uint8Array; // of all heads, then all units, then the hidden units: gate g is bit g % 8 of byte g / 8
  size: ExportSize; // of its compacted export, stored as the model is
}

export interface StepReport {
  step: number;
  loss: number; // NaN or infinite in a skipped step
  layerLoss: number | null; // null: not part of the loss
  klLoss: number | null;
  lmLoss: number | null;
  lagrangian: number;
  scheduledSparsity: number;
  expectedSparsity: number;
  gradientNorm: number;
  lambda1: number;
  lambda2: number;
  seconds: number;
  endedAt: number; // in seconds, on the clock of process.hrtime
  openHeads: number;
  openUnits: number;
  openHidden: number;
  skipped: boolean;
}

/** Who instructs from a step on. */
export interface TeacherStretch {
  firstStep: number;
  digest?: string | undefined; // of a teacher in memory; absent: the intact model
}

/** A pruning at once closes first whatever weighs least, adds least on text, or matters least to the loss. */
export type Importance = 'magnitude' | 'wanda' | 'taylor';

export interface SegmentOptions {
  firstStep: number; // must be the state's step
  settings: Settings; // all that a segment trains with
  losses: { layer: number; kl: number; lm: number; temperature: number };
  trainMasks: boolean; // else the deterministic masks hold, and only LoRA learns
  /** The segment's one step is no training: it closes heads and units at once, down to its scheduled sparsity. */
  oneShot?: { importance: Importance; calibrationSequences: number } | undefined;
  momentsFromStep?: number | undefined; // LoRA's moments are 0 at this step and count from it; 0 when absent
  loraLearningRate: readonly number[] | Float64Array; // one a step
  scheduledSparsity: readonly number[] | Float64Array; // one a step
  stopAtExpectedSparsity?: number | undefined; // a state that reaches it is kept as a teacher
  secondsAtMost?: number | undefined; // no step is begun that would end later; the first always is
  teachers?: readonly TeacherStretch[] | undefined; // in order, the first from firstStep on; none: the intact model throughout
  nextTeacher?: string | undefined; // digest of who instructs after them, as far as that is known
  /** Teachers that need not be in memory: the file of each is read before its turn comes, while other steps are trained. */
  teacherFiles?: readonly { digest: string; file: string }[] | undefined;
  returnState: boolean;
  /** The caller makes the digest of the bytes: that of the result is '', unless the state is kept as a teacher, which is named by it. */
  digestLater?: boolean | undefined;
}

export interface SegmentResult {
  state: StateSummary;
  stateBytes: Uint8Array | null; // null unless asked for
  teachers: string[]; // digests of those in memory
  stepsDone: number;
  stopped: boolean; // by cancel()
  openUnitsBefore: Uint8Array; // of the state that the segment began with, as in StateSummary
  refit: RefitOutcome | null; // that the segment began with
  seconds: number;
}

/** The losses of the phase on the refit's batches, summed; what the refit found stays where the second is lower. */
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
  modelFolder?: string | undefined; // another model than the session's
  /** The session's intact model with single weights set to 0, that share of each projection; wanda looks at the session's text. */
  unstructured?: { importance: 'magnitude' | 'wanda'; sparsity: number; calibrationSequences: number; seed: bigint } | undefined;
}

export interface EvaluationResult {
  zeroShare: number; // of the projections' weights, where single ones were set to 0
  negativeLogLikelihood: number; // nats a prediction
  perplexity: number;
  predictions: number;
}

export interface ScorerOptions {
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
  intact: boolean; // without masks and LoRA
  modelFolder?: string | undefined; // another model than the session's
}

export interface GenerateOptions {
  prompts: readonly GeneratePrompt[];
  endTokens: Uint32Array; // a text ends with any of them
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
  intact: boolean; // without masks and LoRA
  modelFolder?: string | undefined; // another model than the session's
}

/** Sequences one after another. The last `scored` tokens of each are what is asked about, those before them its context. */
export interface ScoreBatch {
  ids: Uint32Array;
  lengths: Uint32Array;
  scored: Uint32Array;
}

export interface Scores {
  logLikelihoods: Float64Array; // of the scored tokens together, nats
  greedy: Uint8Array; // 1: each scored token is the likeliest
}

export interface GeneratePrompt {
  ids: Uint32Array;
  maxTokens: number;
  temperature: number; // 0: always the likeliest token
  topP: number; // the likeliest tokens that have this much of the probability together; 1: all
  seed: bigint;
}

export interface GeneratedToken {
  prompt: number; // its number in the request
  id: number;
  finish: '' | 'end' | 'length'; // end: the token is one of endTokens
}

export interface GenerationResult {
  promptTokens: number;
  generatedTokens: number;
  decodePasses: number; // each reads the weights once
  prefillSeconds: number;
  decodeSeconds: number;
  weightBytes: number; // that a pass reads
  cacheBytes: number; // of keys and values
}

/** A source of a text to train on, and its part of the sequences. Its words are in memory, or in files, one behind the other. */
export type TokenSource = { parts: number } & ({ ids: Uint32Array } | { files: TokenFile[] });
export interface TokenFile {
  path: string;
  /** SHA-256 of the file. */
  digest: string;
  tokens: number;
}

/** Every promise rejects, and every method throws, errors with `code` and `field`. One job at a time: ENGINE_BUSY. */
export interface NativeSession {
  load(options: { folder: string; readWeights: boolean }): Promise<ModelDescription>;
  planMemory(options: TrainerOptions & { folder: string }): Promise<MemoryPlan>;
  open(options: TrainerOptions): Promise<number>; // after load; how many teachers stay in memory
  release(): Promise<void>;
  setData(options: { sources: TokenSource[] }): Promise<number>; // rows
  initialise(options: { seed: bigint; shape?: ShapeTarget }): Promise<StateSummary>;
  importState(options: { bytes: Uint8Array }): Promise<StateSummary>;
  exportState(): Promise<{ digest: string; bytes: Uint8Array }>;
  summary(): Promise<StateSummary>;
  loadTeacher(options: { digest: string; bytes: Uint8Array }): Promise<string[]>;
  /** A number is the share of its calibration that a pruning at once, or a refit, has done. */
  train(options: SegmentOptions, onReports?: (reports: (StepReport | number)[]) => void): Promise<SegmentResult>;
  evaluate(options: EvaluateOptions, onReports?: (doneShares: number[]) => void): Promise<EvaluationResult>;
  openScorer(options: ScorerOptions): Promise<void>;
  score(batch: ScoreBatch, onReports?: (doneShares: number[]) => void): Promise<Scores>; // after openScorer
  closeScorer(): Promise<void>;
  generate(options: GenerateOptions, onReports?: (tokens: GeneratedToken[]) => void): Promise<GenerationResult>;
  stopText(options: { prompt: number }): void; // of the generation under way: no further token of it
  measureSpeed(options: MeasureOptions, onReports?: (doneShares: number[]) => void): Promise<SpeedResult>;
  measureSpeedTable(options: SpeedTableOptions, onReports?: (doneShares: number[]) => void): Promise<MeasuredSpeedTable>;
  exportModel(options: ExportOptions, onReports?: (doneShares: number[]) => void): Promise<ExportedModel>;
  cancel(): void; // the running job, at its next step
}

/** By where the engine takes them. */
export interface EngineSettings {
  session: Settings;
  training: Settings;
}

export interface NativeAddon {
  describe(): EngineDescription;
  device(name: string): DeviceDescription; // the one that it chooses
  numericsFingerprint(options: TrainerOptions): string;
  /** The values that the core computes with when it is given these, and else its own defaults, which only its tests and tools take. */
  settingsInEffect(given: EngineSettings): EngineSettings;
  releaseBytes(bytes: Uint8Array): void; // of a result; they are empty then
  lockFile(descriptor: number, exclusive: boolean): boolean; // false: another has it
  Session: new () => NativeSession;
}
