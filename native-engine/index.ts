// The native engine for TypeScript: defaults, promises, and sessions that close safely.
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

export { EngineError } from './load-addon.js';
export type {
  ComputeDtype,
  DeviceDescription,
  EngineDescription,
  EngineSettings,
  EvaluateOptions,
  EvaluationResult,
  ExportedModel,
  ExportKind,
  ExportOptions,
  GeneratedToken,
  GenerateOptions,
  GeneratePrompt,
  GenerationResult,
  Importance,
  LayerWidth,
  MeasureOptions,
  MemoryPlan,
  ModelDescription,
  ScoreBatch,
  ScorerOptions,
  Scores,
  SegmentOptions,
  SegmentResult,
  Settings,
  Speed,
  SpeedResult,
  StateSummary,
  StepReport,
  TeacherStretch,
  TokenSource,
  TrainerOptions,
} from './native.js';

/** Options of a trainer, of which all but the settings have a default. */
export type GivenTrainerOptions = Partial<TrainerOptions> & Pick<TrainerOptions, 'settings'>;

export interface SessionOptions extends GivenTrainerOptions {
  modelFolder: string;
  /** When set, the model must have it. */
  weightsDigest?: string | undefined;
}

export function describeEngine(): EngineDescription {
  return mapped(() => addon().describe());
}

/** The device that a name ("auto", "cpu", ...) chooses. Throws NOT_SUPPORTED where it is not there or can't be used now. */
export function chosenDevice(name: string): DeviceDescription {
  return mapped(() => addon().device(name));
}

/** Equal fingerprints give equal bits. */
export function numericsFingerprint(options: GivenTrainerOptions): string {
  return mapped(() => addon().numericsFingerprint({ ...trainerDefaults, ...defined(options) }));
}

/** The values that the core computes with when it is given these settings, and else its own defaults. Refuses names that are unknown. */
export function settingsInEffect(given: Partial<EngineSettings> = {}): EngineSettings {
  return mapped(() => addon().settingsInEffect({ session: {}, training: {}, ...given }));
}

/** Locks an open file or folder, for this process alone or for several that share it, until it is closed. False: another has it. */
export function lockFile(descriptor: number, { exclusive }: { exclusive: boolean }): boolean {
  return mapped(() => addon().lockFile(descriptor, exclusive));
}

/** Gives back the memory of a result's bytes, which are empty from then on; else they stay until the collector comes by. */
export function releaseBytes(bytes: Uint8Array): void {
  mapped(() => addon().releaseBytes(bytes));
}

/** @param readWeights else there is no digest, and what the weights hold is not checked: that takes no time */
export function inspectModel(folder: string, readWeights = true, signal?: AbortSignal): Promise<ModelDescription> {
  return withSession((session) => cancellable(session, signal, session.load({ folder, readWeights })));
}

/** Seconds by width of a model's shape; its weights are not read. */
export function measureSpeedTable(options: SpeedTableOptions, signal?: AbortSignal): Promise<MeasuredSpeedTable> {
  return withSession((session) => cancellable(session, signal, session.measureSpeedTable(options)));
}

export function planMemory(options: SessionOptions, signal?: AbortSignal): Promise<MemoryPlan> {
  const of = { ...trainerDefaults, ...defined(options), folder: options.modelFolder };
  return withSession((session) => cancellable(session, signal, session.planMemory(of)));
}

/** Perplexity of a model folder as it is. */
export function evaluateModel(
  modelFolder: string,
  options: Partial<EvaluateOptions> & Pick<EvaluateOptions, 'ids'>,
  job: JobOptions<number> = {},
): Promise<EvaluationResult> {
  return withSession((session) =>
    cancellable(session, job.signal, session.evaluate({ ...evaluateDefaults, ...defined(options), modelFolder }, job.onReports)),
  );
}

/** Scores one batch; the next may follow when it is done. */
export type ScoreOne = (batch: ScoreBatch, job?: JobOptions<number>) => Promise<Scores>;

/** Log-likelihoods under a model folder as it is, for as long as `use` takes. */
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

/** Texts by a model folder as it is. @param job the listener stops texts that it wants no more of */
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
  /** Told which share of its calibration a pruning at once, or a refit, has done. */
  onCalibrated?: ((doneShare: number) => void) | undefined;
}

/** One model with one trainable state. One job at a time: a second one is refused with ENGINE_BUSY. */
export class Session {
  private closing = false;
  private running: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly native: NativeSession,
    readonly model: ModelDescription,
    readonly options: TrainerOptions,
    /** The number of teachers that stay in memory, those used last: a segment may have as many. */
    readonly teachersKept: number,
  ) {}

  static async open(options: SessionOptions): Promise<Session> {
    const native = mapped(() => new (addon().Session)());
    const trainer: TrainerOptions = { ...trainerDefaults, ...defined(options) };
    try {
      const model = await native.load({ folder: options.modelFolder, readWeights: true });
      if (options.weightsDigest && options.weightsDigest !== model.weightsDigest) {
        throw new EngineError(
          'MODEL_CHANGED',
          'weightsDigest',
          `the weights in ${options.modelFolder} have digest ${model.weightsDigest}, not ${options.weightsDigest}`,
        );
      }
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

  /** The training text: token ids, flat, or sources that are mixed. Returns the number of rows of sequenceLength. */
  setData(text: Uint32Array | TokenSource[]): Promise<number> {
    return this.job(() => this.native.setData({ sources: text instanceof Uint32Array ? [{ parts: 1, ids: text }] : text }));
  }

  initialise(seed: bigint, shape?: ShapeTarget): Promise<StateSummary> {
    return this.job(() => this.native.initialise(shape === undefined ? { seed } : { seed, shape }));
  }

  importState(bytes: Uint8Array): Promise<StateSummary> {
    return this.job(() => this.native.importState({ bytes }));
  }

  exportState(): Promise<{ digest: string; bytes: Uint8Array }> {
    return this.job(() => this.native.exportState());
  }

  summary(): Promise<StateSummary> {
    return this.job(() => this.native.summary());
  }

  /** Makes a snapshot available to `train` under its digest. Returns the digests of the teachers that are in memory now. */
  loadTeacher(digest: string, bytes: Uint8Array): Promise<string[]> {
    return this.job(() => this.native.loadTeacher({ digest, bytes }));
  }

  /**
   * Aborting the signal ends the segment at a step boundary, a pruning at once between two batches of its calibration text; the result
   * then says `stopped`.
   */
  train(options: SegmentOptions, { onReports, onCalibrated, signal }: TrainJob = {}): Promise<SegmentResult> {
    const told = (reports: (StepReport | number)[]): void => {
      const share = reports.findLast((one) => typeof one === 'number');
      if (share !== undefined) onCalibrated?.(share);
      const steps = reports.filter((one) => typeof one !== 'number');
      if (steps.length > 0) onReports?.(steps);
    };
    return this.job(() => cancellable(this.native, signal, this.native.train(options, told)));
  }

  evaluate(options: Partial<EvaluateOptions> & Pick<EvaluateOptions, 'ids'>, job: JobOptions<number> = {}): Promise<EvaluationResult> {
    const full = { ...evaluateDefaults, device: this.options.device, threads: this.options.threads, ...defined(options) };
    return this.job(() => cancellable(this.native, job.signal, this.native.evaluate(full, job.onReports)));
  }

  /** Log-likelihoods under the session's model and state, for as long as `use` takes. */
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

  exportModel(
    options: Partial<ExportOptions> & Pick<ExportOptions, 'form' | 'outFolder'>,
    job: JobOptions<number> = {},
  ): Promise<ExportedModel> {
    return this.job(() =>
      cancellable(this.native, job.signal, this.native.exportModel({ ...exportDefaults, ...defined(options) }, job.onReports)),
    );
  }

  /** Ends a running job at its next step, waits for it, and lets the memory go. May be called at any time, and again. */
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
      const started = start(); // throws ENGINE_BUSY before it takes the place of the running one
      this.running = started;
      return await started;
    } catch (error) {
      throw toEngineError(error);
    }
  }
}
