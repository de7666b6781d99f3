// Measures how long the steps and evaluations of a run take (docs/design/time.md), by the calls that train and evaluate it. Only the state
// is made for the measurement: its gates are open as at the run's start, or closed as at its target.
import type { ArtifactStore } from '#artifact-store';
import type { EngineWorkbench } from '../engine-pool/engine-workbench.js';
import { trainRequest } from '../engines/wire/engine-requests.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { lossesAt, prunesAtOnce } from '../pruning-run/method/phases.js';
import { shareToPrune } from '../pruning-run/method/run-settings.js';
import { snapshotsInstruct, snapshotsTaken } from '../pruning-run/method/teacher-policy.js';
import type { RunSettings, StepRates, TeacherChoice } from '../pruning-run/record/pruning-run.events.js';
import { firstOf, PERPLEXITY_DTYPE } from './evaluations.js';

/**
 * The measurement times the steps of each kind for a share of the run's time, if it has one, for `mostSeconds` at most, and always three
 * steps. One step before them does not count, because it touches its memory for the first time. A step may wait for seconds where other
 * programs use the machine, so the median counts. Recovery has most of the steps, so they are timed for longer.
 */
const PRUNING = { share: 0.02, mostSeconds: 5 };
const RECOVERY = { share: 0.05, mostSeconds: 10 };
const FEWEST_STEPS = 3;
const MOST_STEPS = 200;
/** A calibration is timed on this share of its sequences. */
const CALIBRATED_SHARE = 1 / 8;
/** The engine evaluates as many tokens at once, in whole windows. */
const EVALUATED_AT_ONCE = 2048;
/** Small, so that the state stays as it is. */
const LEARNING_RATE = 1e-9;

/** Seconds of single steps: their median, one that is as fast as the fastest tenth of them, and one as slow as the slowest tenth. */
export interface Scatter {
  fast: number;
  typical: number;
  slow: number;
}
type Rates = { [rate in keyof StepRates]: number | Scatter };

/** The rates of a run by the typical steps, and what they are if all steps were as fast, or as slow, as a tenth of those measured. */
export type MeasuredRates = Record<keyof Scatter, StepRates>;

const NOTHING: StepRates = {
  stepOpen: 0,
  stepAtTarget: 0,
  closing: 0,
  recoveryStart: 0,
  recoveryStep: 0,
  segmentEnd: 0,
  evaluationStart: 0,
  evaluatedToken: 0,
  evaluatedTokenAtTarget: 0,
};

/** A run, or a planned one with a text that stands for its own. */
export type RunToMeasure = Pick<PruningRunState, 'runId' | 'settings' | 'model' | 'budget'> & {
  data: Pick<PruningRunState['data'], 'trainSources' | 'trainDigest' | 'trainTokens' | 'validationDigest' | 'validationTokens'>;
};

export function scatterOf(seconds: readonly number[]): Scatter {
  const sorted = [...seconds].sort((a, b) => a - b);
  const last = sorted.length - 1;
  const between = (share: number): number => {
    const at = Math.floor(last * share);
    return sorted[at]! + (sorted[Math.min(at + 1, last)]! - sorted[at]!) * (last * share - at);
  };
  return { fast: between(0.1), typical: between(0.5), slow: between(0.9) };
}

const ratesAt = (rates: Rates, which: keyof Scatter): StepRates =>
  Object.fromEntries(
    Object.entries(rates).map(([name, rate]) => [name, typeof rate === 'number' ? rate : rate[which]]),
  ) as unknown as StepRates;

/** @param onCall called after each call of the engine @param bench has the run's model and training tokens */
export async function measureRates(
  bench: EngineWorkbench,
  artifacts: Pick<ArtifactStore, 'open'>,
  run: RunToMeasure,
  onCall: () => void,
  signal: AbortSignal,
): Promise<MeasuredRates> {
  const rates = await new RateMeasurement(bench, artifacts, run, onCall, signal).rates();
  return { fast: ratesAt(rates, 'fast'), typical: ratesAt(rates, 'typical'), slow: ratesAt(rates, 'slow') };
}

/** The steps of a call: pruning at a sparsity by a teacher, or recovery that begins at a step. */
interface Trained {
  settings: RunSettings;
  recoversFrom?: number;
  sparsity: number;
  teacher: TeacherChoice;
  /** Whether to keep the state as a teacher. */
  keep?: boolean;
}

interface Timed {
  steps: Scatter;
  besideSeconds: number; // the rest of the call
  stateDigest: string;
}

const INTACT: TeacherChoice = { kind: 'intact' };

class RateMeasurement {
  /** The step of the engine's state. */
  private step = 0;

  constructor(
    private readonly bench: EngineWorkbench,
    private readonly artifacts: Pick<ArtifactStore, 'open'>,
    private readonly run: RunToMeasure,
    private readonly onCall: () => void,
    private readonly signal: AbortSignal,
  ) {}

  async rates(): Promise<Rates> {
    const { settings } = this.run;
    const intact = await this.evaluated(true);
    const pruned =
      settings.recipe === 'scan' ? await this.scanned() : prunesAtOnce(settings.recipe) ? await this.closedAtOnce() : await this.pruned();
    const recovered = settings.recoverSteps > 0 ? await this.recovered() : {};
    const atTarget = await this.evaluated(false);
    return {
      ...NOTHING,
      ...pruned,
      ...recovered,
      evaluationStart: intact.start + atTarget.start,
      evaluatedToken: intact.token,
      evaluatedTokenAtTarget: atTarget.token,
    };
  }

  /** Steps of pruning at both ends of the sparsity. The engine then has a state at the target. */
  private async pruned(): Promise<Partial<Rates>> {
    const { settings, budget = null } = this.run;
    await this.begin(0);
    const open = await this.timed({ settings, sparsity: 0, teacher: INTACT }, PRUNING);
    const sparsity = await this.begin(closedShare(shareToPrune(settings, budget)));
    const hasNumerous = snapshotsInstruct(settings) && snapshotsTaken(settings).likely > 0;
    const { stateDigest } = await this.call({ settings, sparsity, teacher: INTACT, keep: hasNumerous }, 1);
    // At the target a teacher is pruned too. Any snapshot stands for it here.
    const teacher: TeacherChoice = hasNumerous ? { kind: 'snapshot', mark: 1, stateDigest } : INTACT;
    const atTarget = await this.timed({ settings, sparsity, teacher }, PRUNING);
    return { stepOpen: open.steps, stepAtTarget: atTarget.steps, segmentEnd: open.besideSeconds };
  }

  /** The step of a recipe that prunes at once, with a part of its calibration. The engine then has a state at the target. */
  private async closedAtOnce(): Promise<Partial<StepRates>> {
    const { settings } = this.run;
    const { recipe, calibrationSequences: all, batchSize, targetSparsity: sparsity } = settings;
    const some = Math.min(all, Math.max(batchSize, Math.ceil(all * CALIBRATED_SHARE)));
    await this.begin(0);
    const { steps, besideSeconds } = await this.call(
      { settings: { ...settings, calibrationSequences: some }, sparsity, teacher: { kind: 'none' } },
      1,
    );
    return { closing: recipe === 'magnitude' ? steps.typical : (steps.typical * all) / some, segmentEnd: besideSeconds };
  }

  /** The first two layers of a scan. Each form of a layer passes through all layers behind it, so a layer takes half as long on average. */
  private async scanned(): Promise<Partial<StepRates>> {
    const { settings } = this.run;
    const { totalSteps } = settings;
    await this.begin(0);
    const layer = { settings, sparsity: 0, teacher: { kind: 'none' } } as const;
    const first = await this.call(layer, 1); // it also rates the parts
    const later = totalSteps > 1 ? await this.call(layer, 1) : first;
    const rating = Math.max(0, first.steps.typical - later.steps.typical);
    return { closing: rating + (later.steps.typical * (totalSteps + 1)) / 2, segmentEnd: later.besideSeconds };
  }

  private async recovered(): Promise<Partial<Rates>> {
    const trained = { settings: this.run.settings, recoversFrom: this.step, sparsity: 0, teacher: INTACT };
    const first = await this.call(trained, 1);
    const { steps, besideSeconds } = await this.timed(trained, RECOVERY, first.steps.typical);
    return { recoveryStart: Math.max(0, first.besideSeconds - besideSeconds), recoveryStep: steps, segmentEnd: besideSeconds };
  }

  /** Gives the engine the run's first state, or one with a share of its gates closed. Returns its expected sparsity. */
  private async begin(closed: number): Promise<number> {
    const { expectedSparsity, step } = await this.bench.bringStateToMeasure(this.run, closed);
    this.step = Number(step);
    this.onCall();
    return expectedSparsity;
  }

  /** @param warm the seconds of a step before; undefined: there was none, so that one is made first */
  private async timed(trained: Trained, { share, mostSeconds }: typeof PRUNING, warm?: number): Promise<Timed> {
    const stepSeconds = warm ?? (await this.call(trained, 1)).steps.typical;
    const { time } = this.run.settings;
    const seconds = time === 0 ? mostSeconds : Math.min(mostSeconds, time * share);
    return this.call(trained, MOST_STEPS, Math.max(seconds, stepSeconds * (FEWEST_STEPS + 0.5)));
  }

  private async call(
    { settings, recoversFrom, sparsity, teacher, keep = false }: Trained,
    count: number,
    segmentSeconds = 0,
  ): Promise<Timed> {
    const { client } = this.bench.engine;
    const { step: firstStep } = this;
    // The phase of a step follows from the settings.
    const phases = recoversFrom === undefined ? { totalSteps: firstStep + count } : { totalSteps: recoversFrom, recoverSteps: MOST_STEPS };
    const inPhase = { ...settings, ...(prunesAtOnce(settings.recipe) && recoversFrom === undefined ? {} : phases) };
    const plan = {
      firstStep,
      losses: lossesAt(inPhase, firstStep),
      loraLearningRates: Array<number>(count).fill(LEARNING_RATE),
      scheduledSparsities: Array<number>(count).fill(sparsity),
      stretches: [{ firstStep, teacher }],
      segmentSeconds,
      maxSegments: 1,
      marks: keep ? [{ expectedSparsity: sparsity / 2, teacher: null }] : [],
    };
    const began = performance.now();
    const { steps, outcome } = await client.trainSegment(trainRequest(this.bench.sessionId, inPhase, plan, 'leave'), this.signal);
    const seconds = (performance.now() - began) / 1_000;
    this.signal.throwIfAborted();
    this.step += steps.length;
    this.onCall();
    const inSteps = steps.reduce((sum, step) => sum + step.seconds, 0);
    const besideSeconds = Math.max(0, seconds - inSteps);
    return { steps: scatterOf(steps.map((step) => step.seconds)), besideSeconds, stateDigest: outcome.state.digest };
  }

  /** The seconds with which a perplexity begins, and those of a token. They are 0 where the run has none. */
  private async evaluated(intact: boolean): Promise<{ start: number; token: number }> {
    const { settings, data } = this.run;
    if (data.validationDigest === null) return { start: 0, token: 0 };
    const { evaluationWindow: window } = settings;
    const atOnce = Math.max(1, Math.floor(EVALUATED_AT_ONCE / window)) * window;
    const isShort = data.validationTokens < 2 * atOnce;
    const tokens = isShort ? data.validationTokens : 2 * atOnce;
    const request = { sessionId: this.bench.sessionId, intact, window, computeDtype: PERPLEXITY_DTYPE };
    const began = performance.now();
    const seconds = (): number => (performance.now() - began) / 1_000;
    let firstHalf = 0;
    const onProgress = (share: number): void => void (share < 1 && (firstHalf = seconds()));
    await this.bench.engine.client.evaluate(request, firstOf(this.artifacts.open(data.validationDigest), tokens), onProgress, this.signal);
    const all = seconds();
    this.onCall();
    const secondHalf = Math.min(all / 2, all - firstHalf);
    return isShort ? { start: 0, token: all / tokens } : { start: all - 2 * secondHalf, token: secondHalf / atOnce };
  }
}

/**
 * The share of heads and units that is closed where a share of the prunable parameters is gone. A state that is made for a measurement has
 * a quarter as many of the hidden units closed, and a parameter stays if its head or unit stays and its hidden unit does.
 */
function closedShare(pruned: number): number {
  return (5 - Math.sqrt(25 - 16 * pruned)) / 2;
}
