// The native engine for TypeScript: it adds defaults, promises, and sessions that close safely.
import { defined, evaluateDefaults, exportDefaults, generateDefaults, scorerDefaults, trainerDefaults } from './defaults.js';
import { addon, EngineError, mapped, toEngineError } from './load-addon.js';
import { cancellable, withSession } from './native-session.js';
import type {
  DeviceDescription,
  EngineDescription,
  EngineSettings,
  EvaluateOptions,
  EvaluationResult,
  ExportedModel,
  ExportOptions,
  GeneratedToken,
  GenerateOptions,
  GenerationResult,
  MeasureOptions,
  MeasuredSpeedTable,
  MemoryPlan,
  ModelDescription,
  NativeSession,
  ScoreBatch,
  ScorerOptions,
  Scores,
  SegmentOptions,
  SegmentResult,
  SpeedResult,
  SpeedTableOptions,
  ShapeTarget,
  StateSummary,
  StepReport,
  TokenSource,
  TrainerOptions,
} from './native.js';
import { loadWithDigest } from './weights-digests.js';

export { EngineError } from './load-addon.js';
export { releaseBytes, writeBytes } from './result-bytes.js';
export type * from './native.js';

/** The options of a trainer. All except the settings have a default. */
export type GivenTrainerOptions = Partial<TrainerOptions> & Pick<TrainerOptions, 'settings'>;

export interface SessionOptions extends GivenTrainerOptions {
  modelFolder: string;
  /** The digest that the model must have; undefined: any model is accepted. */
  weightsDigest?: string | undefined;
}

export function describeEngine(): EngineDescription {
  return mapped(() => addon().describe());
}

/** Returns the device that a name ("auto", "cpu", ...) stands for. Throws NOT_SUPPORTED if it does not exist or can't be used now. */
export function chosenDevice(name: string): DeviceDescription {
  return mapped(() => addon().device(name));
}

/** Returns the fingerprint of computations with these options. Equal fingerprints give equal bits. */
export function numericsFingerprint(options: GivenTrainerOptions): string {
  return mapped(() => addon().numericsFingerprint({ ...trainerDefaults, ...defined(options) }));
}

/** Returns the values that the core computes with for these settings, and its own defaults for the others. Refuses unknown names. */
export function settingsInEffect(given: Partial<EngineSettings> = {}): EngineSettings {
  return mapped(() => addon().settingsInEffect({ session: {}, training: {}, ...given }));
}

/**
 * Locks an open file or folder until it is closed, for this process alone (`exclusive`) or shared with others. Returns false if another
 * process has the lock.
 */
export function lockFile(descriptor: number, { exclusive }: { exclusive: boolean }): boolean {
  return mapped(() => addon().lockFile(descriptor, exclusive));
}

/** @param readWeights false: the weights are not read, which takes no time, but there is no digest and no check of their content */
export function inspectModel(folder: string, readWeights = true, signal?: AbortSignal): Promise<ModelDescription> {
  return withSession((session) =>
    cancellable(session, signal, readWeights ? loadWithDigest(session, folder) : session.load({ folder, readWeights })),
  );
}

/** Measures the seconds by width of a model's shape. The model's weights are not read. */
export function measureSpeedTable(options: SpeedTableOptions, signal?: AbortSignal): Promise<MeasuredSpeedTable> {
  return withSession((session) => cancellable(session, signal, session.measureSpeedTable(options)));
}

export function planMemory(options: SessionOptions, signal?: AbortSignal): Promise<MemoryPlan> {
  const of = { ...trainerDefaults, ...defined(options), folder: options.modelFolder };
  return withSession((session) => cancellable(session, signal, session.planMemory(of)));
}

/** Describes the state in a file: the facts that follow from its gates. The result has no digest. */
export function describeState(modelFolder: string, stateFile: string, signal?: AbortSignal): Promise<StateSummary> {
  return withSession(async (session) => {
    await cancellable(session, signal, session.load({ folder: modelFolder, readWeights: false }));
    return cancellable(session, signal, session.describeState({ stateFile }));
  });
}

export type GivenExportOptions = Partial<ExportOptions> &
  Pick<ExportOptions, 'form' | 'outFolder' | 'stateFile'> &
  Pick<SessionOptions, 'modelFolder' | 'weightsDigest'>;

/** Exports a state of a model, both from files, or the model as it is. It computes on no device. Returns the model before pruning, too. */
export function exportModel(
  options: GivenExportOptions,
  { signal, onReports }: JobOptions<number> = {},
): Promise<ExportedModel & { source: ModelDescription }> {
  const { modelFolder, weightsDigest, ...kind } = options;
  return withSession(async (session) => {
    const source = await cancellable(session, signal, loadExpected(session, modelFolder, weightsDigest));
    const exported = await cancellable(session, signal, session.exportModel({ ...exportDefaults, ...defined(kind) }, onReports));
    return { ...exported, source };
  });
}

async function loadExpected(native: NativeSession, folder: string, weightsDigest: string | undefined): Promise<ModelDescription> {
  const model = await loadWithDigest(native, folder);
  if (weightsDigest && weightsDigest !== model.weightsDigest) {
    throw new EngineError(
      'MODEL_CHANGED',
      'weightsDigest',
      `the weights in ${folder} have digest ${model.weightsDigest}, not ${weightsDigest}`,
    );
  }
  return model;
}

/** Returns the perplexity of the model in a folder as it is: an intact model or an export. */
export function evaluateModel(
  modelFolder: string,
  options: Partial<EvaluateOptions> & Pick<EvaluateOptions, 'ids'>,
  job: JobOptions<number> = {},
): Promise<EvaluationResult> {
  return withSession((session) =>
    cancellable(session, job.signal, session.evaluate({ ...evaluateDefaults, ...defined(options), modelFolder }, job.onReports)),
  );
}

/** Scores one batch. The next call may follow when it is done. */
export type ScoreOne = (batch: ScoreBatch, job?: JobOptions<number>) => Promise<Scores>;

/** Opens a scorer for the model in a folder as it is, for as long as `use` takes. */
export function withModelScorer<T>(modelFolder: string, options: Partial<ScorerOptions>, use: (score: ScoreOne) => Promise<T>): Promise<T> {
  return withSession((session) => scoring(session, { ...scorerDefaults, ...defined(options), modelFolder }, use));
}

async function scoring<T>(native: NativeSession, options: ScorerOptions, use: (score: ScoreOne) => Promise<T>): Promise<T> {
  await native.openScorer(options);
  try {
    return await use((batch, job = {}) => cancellable(native, job.signal, native.score(batch, job.onReports)));
  } finally {
    await native.closeScorer();
  }
}

/** Measures the speed of the model in a folder as it is, beside no other. */
export function measureModelSpeed(modelFolder: string, options: MeasureOptions, job: JobOptions<number> = {}): Promise<SpeedResult> {
  return withSession((session) => cancellable(session, job.signal, session.measureSpeed({ ...options, modelFolder }, job.onReports)));
}

/** Generates texts with the model in a folder as it is. @param job its listener can stop single texts */
export function generateWith(modelFolder: string, options: GivenGenerateOptions, job: GenerateJob = {}): Promise<GenerationResult> {
  return withSession((session) => generateIn(session, { ...generateDefaults, ...defined(options), modelFolder }, job));
}

export type GivenGenerateOptions = Partial<GenerateOptions> & Pick<GenerateOptions, 'prompts'>;
export interface GenerateJob {
  onTokens?: (tokens: GeneratedToken[], stop: (prompt: number) => void) => void;
  signal?: AbortSignal | undefined;
}

function generateIn(native: NativeSession, options: GenerateOptions, { onTokens, signal }: GenerateJob): Promise<GenerationResult> {
  const stop = (prompt: number): void => native.stopText({ prompt });
  return cancellable(
    native,
    signal,
    native.generate(options, (tokens) => onTokens?.(tokens, stop)),
  );
}

export interface JobOptions<Report> {
  onReports?: ((reports: Report[]) => void) | undefined;
  /** Ends the job at its next step. */
  signal?: AbortSignal | undefined;
}

export interface TrainJob extends JobOptions<StepReport> {
  /** Called with the share of the calibration that is done, in a one-step pruning or a refit. */
  onCalibrated?: ((doneShare: number) => void) | undefined;
}

/** One model with one trainable state. It does one job at a time; a second one is refused with ENGINE_BUSY. */
export class Session {
  private closing = false;
  private running: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly native: NativeSession,
    readonly model: ModelDescription,
    readonly options: TrainerOptions & Pick<SessionOptions, 'modelFolder'>,
    /** The number of teachers that stay in memory, which are those used last. A segment may have at most this number of teachers. */
    readonly teachersKept: number,
  ) {}

  static async open(options: SessionOptions): Promise<Session> {
    const native = mapped(() => new (addon().Session)());
    const trainer = { ...trainerDefaults, ...defined(options) };
    try {
      const model = await loadExpected(native, options.modelFolder, options.weightsDigest);
      const teachersKept = await native.open(trainer);
      return new Session(native, model, trainer, teachersKept);
    } catch (error) {
      await native.release();
      throw toEngineError(error);
    }
  }

  get numericsFingerprint(): string {
    return numericsFingerprint(this.options);
  }

  /** Sets the training text: token ids, or sources that are mixed. Returns the number of rows of sequenceLength tokens. */
  setData(text: Uint32Array | TokenSource[]): Promise<number> {
    return this.job(() => this.native.setData({ sources: text instanceof Uint32Array ? [{ parts: 1, ids: text }] : text }));
  }

  initialise(seed: bigint, shape?: ShapeTarget, closed = 0): Promise<StateSummary> {
    return this.job(() => this.native.initialise({ seed, closed, ...(shape === undefined ? {} : { shape }) }));
  }

  /** Takes the state in a file or a folder of slices. @param digest that it must have; '' is not compared */
  importState(stateFile: string, digest = ''): Promise<StateSummary> {
    return this.job(() => this.native.importState({ stateFile, digest }));
  }

  exportState(): Promise<{ digest: string; bytes: Uint8Array }> {
    return this.job(() => this.native.exportState());
  }

  summary(): Promise<StateSummary> {
    return this.job(() => this.native.summary());
  }

  /**
   * Makes a snapshot available to `train` by its digest. Returns the digests of all teachers that are now in memory.
   * @param isCompared false: the digest is known to be that of the state
   */
  loadTeacher(digest: string, stateFile: string, isCompared = true): Promise<string[]> {
    return this.job(() => this.native.loadTeacher({ digest, stateFile, isCompared }));
  }

  /** Names the teacher that a segment kept without its digest. May be called while a job runs. */
  nameTeacher(keptAs: string, digest: string): void {
    mapped(() => this.native.nameTeacher({ keptAs, digest }));
  }

  /**
   * Trains a segment. Aborting the signal ends it at the end of a step, and a one-step pruning between two batches of its calibration text.
   * The result then has `stopped`.
   */
  train(options: SegmentOptions, { onReports, onCalibrated, signal }: TrainJob = {}): Promise<SegmentResult> {
    const onBatch = (reports: (StepReport | number)[]): void => {
      const share = reports.findLast((one) => typeof one === 'number');
      if (share !== undefined) onCalibrated?.(share);
      const steps = reports.filter((one) => typeof one !== 'number');
      if (steps.length > 0) onReports?.(steps);
    };
    return this.job(() => cancellable(this.native, signal, this.native.train(options, onBatch)));
  }

  evaluate(options: Partial<EvaluateOptions> & Pick<EvaluateOptions, 'ids'>, job: JobOptions<number> = {}): Promise<EvaluationResult> {
    const full = { ...evaluateDefaults, device: this.options.device, threads: this.options.threads, ...defined(options) };
    return this.job(() => cancellable(this.native, job.signal, this.native.evaluate(full, job.onReports)));
  }

  /** Opens a scorer for the session's model and state, for as long as `use` takes. */
  withScorer<T>(options: Partial<ScorerOptions>, use: (score: ScoreOne) => Promise<T>): Promise<T> {
    const full = { ...scorerDefaults, device: this.options.device, threads: this.options.threads, ...defined(options) };
    return this.job(() => scoring(this.native, full, use));
  }

  generate(options: GivenGenerateOptions, job: GenerateJob = {}): Promise<GenerationResult> {
    const full = { ...generateDefaults, device: this.options.device, threads: this.options.threads, ...defined(options) };
    return this.job(() => generateIn(this.native, full, job));
  }

  measureSpeed(options: Omit<MeasureOptions, 'device' | 'threads'>, job: JobOptions<number> = {}): Promise<SpeedResult> {
    const full = { device: this.options.device, threads: this.options.threads, ...options };
    return this.job(() => cancellable(this.native, job.signal, this.native.measureSpeed(full, job.onReports)));
  }

  /** Ends a running job at its next step, waits for it, and frees the memory. May be called at any time, and repeatedly. */
  async close(): Promise<void> {
    if (this.closing)
      return this.running.then(
        () => undefined,
        () => undefined,
      );
    this.closing = true;
    this.native.cancel();
    await this.running.catch(() => undefined);
    this.running = this.native.release();
    await this.running;
  }

  private async job<T>(start: () => Promise<T>): Promise<T> {
    if (this.closing) throw new EngineError('SESSION_NOT_FOUND', '', 'the session is closed');
    try {
      const started = start(); // throws ENGINE_BUSY before it replaces the running job
      this.running = started;
      return await started;
    } catch (error) {
      throw toEngineError(error);
    }
  }
}
