// The types of the native addon, as addon/ exports it. Only index.ts uses the addon directly. Where the engine's protocol has a message for
// something, the addon returns or takes this very message, so that its fields are described in the protocol alone
// (proto/espalier/engine/v1/engine_service.proto).
import type { engineV1, EnumWord, v1 } from '#protocol';

export type ComputeDtype = EnumWord<typeof engineV1.ComputeDtype, 'COMPUTE_DTYPE_'>;
/** Settings by their names in events. core/session/settings.h says which settings the engine takes for which use. */
export type Settings = Readonly<Record<string, number | bigint | boolean | string | readonly string[]>>;

export interface EngineDescription {
  build: string; // the digest of the native sources, and the compiler
  devices: DeviceDescription[]; // the preferred ones first
  peakResidentBytes: number;
}

export type DeviceDescription = engineV1.Device;
export type ModelDescription = engineV1.ModelDescription;
export type ShapeTarget = engineV1.ShapeTarget;

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

/** The plan of a session alone: the engine adds the memory of its process. */
export type MemoryPlan = Omit<engineV1.PlanMemoryResponse, 'processBytes' | 'numericsFingerprint'>;
export type StateSummary = engineV1.StateSummary & { size: engineV1.ExportSize };

export type StepReport = engineV1.StepReport & { endedAt: number }; // in seconds, on the clock of process.hrtime

/** The steps that one teacher teaches, from `firstStep` up to the next stretch. */
export interface TeacherStretch {
  firstStep: number;
  digest?: string | undefined; // the digest of a teacher in memory; absent: the intact model
}

/** A message of the protocol whose importance is a word, since the core does not know the protocol's numbers. */
type InWords<Message, Word> = Omit<Message, 'importance'> & { importance: Word };

/** A one-step pruning first closes the parts with the smallest weights, the smallest outputs on text, or the least effect on the loss. */
export type Importance = EnumWord<typeof engineV1.Importance, 'IMPORTANCE_'>;

export interface SegmentOptions {
  firstStep: number; // must be the state's step
  settings: Settings; // all settings for training a segment
  losses: engineV1.Losses;
  trainMasks: boolean; // false: the deterministic masks hold, and only LoRA learns
  /** Makes the segment's one step a one-step pruning, which trains nothing: it closes heads and units down to the scheduled sparsity. */
  oneShot?: InWords<engineV1.OneShot, Importance> | undefined;
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

/** The protocol's message but for the state's bytes, and the facts that only the engine needs. */
export interface SegmentResult extends Omit<engineV1.SegmentOutcome, 'state' | 'stateBytes' | 'stateFile' | 'partSums' | 'slices'> {
  state: StateSummary;
  stateBytes: Uint8Array | null; // null unless returnState, and where the state is in slices
  stateFolder: string; // the folder of a returned state in slices, which has its digest; '': it is not in slices
  stateSize: number; // the bytes of the state, handed out or not
  stateSeconds: number; // the seconds that writing slices took, which are among those of the segment
  teachers: string[]; // the digests of the teachers in memory; a teacher without a digest is called as in keptAs
  /** The name of the state as a teacher until nameTeacher gives it its digest; '': it has its digest, or is not a teacher. */
  keptAs: string;
  stopped: boolean; // ended by cancel()
}

/** Which model computes, and where. */
export interface ScorerOptions {
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
  intact: boolean; // without masks and LoRA
  modelFolder?: string | undefined; // the folder of another model than the session's
}

export interface EvaluateOptions extends ScorerOptions {
  ids: Uint32Array;
  window: number;
  /** Evaluates the intact model with this share of each projection's single weights set to 0. wanda looks at the session's text. */
  unstructured?: InWords<engineV1.Unstructured, 'magnitude' | 'wanda'> | undefined;
}

export type EvaluationResult = Omit<engineV1.EvaluationOutcome, 'seconds'>;

export interface GenerateOptions extends ScorerOptions {
  prompts: readonly GeneratePrompt[];
  endTokens: Uint32Array; // the tokens of which each ends a text
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

export type GenerationResult = v1.GenerationOutcome;

/** The speeds of the session's model before and after pruning, measured in turns, or that of a model without a session. */
export interface MeasureOptions {
  promptTokens: number;
  tokens: number; // the tokens that each sequence decodes in a round
  sequences: number; // decoded together
  rounds: number; // 0: until the ratios are certain, as far as there is time
  computeDtype: ComputeDtype; // both models are also stored in this type
  device: string;
  threads: number;
  modelFolder?: string | undefined; // instead of the session's state
  sizedAs: ExportKind; // the export whose sizes are reported
}

export interface SpeedTableOptions {
  folder: string; // the folder of a model, whose shape counts
  decode: boolean; // true: one more token for every sequence; false: a prompt
  context: number; // the tokens of the prompt, or the tokens before a new token
  sequences: number; // decoded together
  rounds: number; // the rounds of each width; 0: as many as there is time for
  computeDtype: ComputeDtype;
  device: string;
  threads: number;
}

export type MeasuredSpeedTable = Pick<engineV1.MeasureSpeedTableResponse, 'times' | 'rounds' | 'passSeconds' | 'passSpread'>;
export type SpeedResult = Omit<engineV1.SpeedOutcome, 'computeDtype'>;

export interface ExportKind {
  container: 'safetensors' | 'gguf';
  form: EnumWord<typeof engineV1.ExportForm, 'EXPORT_FORM_'>;
  dtype: 'f32' | 'bf16' | 'f16' | 'q8_0' | 'source';
  multipleOf: number; // MLP and hidden widths are rounded up to it
}

export interface ExportOptions extends ExportKind {
  stateFile: string; // the file of the state; '': the model as it is
  outFolder: string; // must not exist, or be empty
  modelCard: string; // README.md; empty: a plain one
}

export type ExportedModel = Omit<engineV1.ExportedModel, 'source'> & { files: { name: string; sizeBytes: number; sha256: string }[] };

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
