// Measures how long the steps of a planned run take. A plan has no text, so token ids that a formula gives stand for one: the time of a
// step does not depend on them. Nothing is recorded.
import { Inject, Injectable } from '@nestjs/common';
import type { ArtifactStore } from '#artifact-store';
import type { v1 } from '#protocol';
import { EngineJobs } from '../engine-pool/engine-jobs.js';
import { formulaTokens, tokenBytes } from '../measurements/formula-tokens.js';
import { measureRates, type MeasuredRates, type RunToMeasure } from '../measurements/step-rates.js';
import { wishWithoutRun } from '../measurements/subjects.js';
import { ARTIFACT_STORE } from '../provider-names.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { evaluationSeconds, runSeconds, settingsForTime } from '../pruning-run/method/run-time.js';
import type { RunSettings, StepRates } from '../pruning-run/record/pruning-run.events.js';
import { StateKeeper } from '../retention/state-keeper.js';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import { requireMemory, type RunPlan } from '../run-inputs/run-plan.js';
import { worked, type Progress } from './work.js';

const SEQUENCES = 64;

@Injectable()
export class PlanMeasurement {
  constructor(
    @Inject(ModelAndData) private readonly sources: ModelAndData,
    @Inject(EngineJobs) readonly jobs: EngineJobs,
    @Inject(StateKeeper) readonly keeper: StateKeeper,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
  ) {}

  /** @throws EspalierError as the launch would */
  async *measure(modelPath: string, asked: RequestedSettings, signal: AbortSignal): AsyncGenerator<Progress<v1.MeasuredPlan>> {
    const plan = await this.sources.plan(modelPath, asked);
    requireMemory(plan);
    const pinned: string[] = [];
    const wish = wishWithoutRun(`a measurement of the steps of a plan for ${modelPath}`);
    yield* worked(this, wish, pinned, signal, async (bench, onProgress, both) => {
      const began = performance.now();
      const run = await this.standIn(plan, pinned);
      let left = 1; // the number of calls is not known
      await bench.bringModel(run, both);
      await bench.bringTokens(run);
      const rates = await measureRates(bench, this.artifacts, run, () => onProgress(1 - (left *= 0.85)), both);
      return measured(plan, run, rates, (performance.now() - began) / 1_000);
    });
  }

  /** The planned run with a text that stands for its own. */
  private async standIn({ settings, model, budget }: RunPlan, pinned: string[]): Promise<RunToMeasure> {
    const { sequenceLength, batchSize, calibrationSequences, evaluationTokens } = settings;
    const trainTokens = sequenceLength * Math.max(SEQUENCES, 2 * batchSize, calibrationSequences);
    const train = await this.stored(trainTokens, model.vocabularySize, pinned);
    const validation = evaluationTokens === 0 ? null : await this.stored(evaluationTokens, model.vocabularySize, pinned);
    const data = { trainDigest: train, trainTokens, validationDigest: validation, validationTokens: evaluationTokens };
    return { runId: 'of a plan', settings, model, data, ...(budget === null ? {} : { budget }) };
  }

  private async stored(tokens: number, vocabularySize: number, pinned: string[]): Promise<string> {
    const beforeNamed = async (digest: string): Promise<void> => {
      pinned.push(digest);
      await this.keeper.pin(digest);
    };
    return (await this.artifacts.put(tokenBytes(formulaTokens(tokens, vocabularySize)), { beforeNamed })).digest;
  }
}

function measured(plan: RunPlan, run: RunToMeasure, measuredRates: MeasuredRates, spentSeconds: number): v1.MeasuredPlan {
  const { typical: rates, fast, slow } = measuredRates;
  const isTimed = plan.settings.time > 0;
  const { settings: chosen } = isTimed ? settingsForTime({ ...run, following: plan.following }, rates, spentSeconds) : plan;
  const secondsAt = (at: StepRates): number => (isTimed ? spentSeconds : 0) + runSeconds({ ...run, settings: chosen }, at);
  return {
    seconds: secondsAt(rates),
    fastSeconds: secondsAt(fast),
    slowSeconds: secondsAt(slow),
    stepOpenSeconds: rates.stepOpen,
    stepAtTargetSeconds: rates.stepAtTarget,
    closingSeconds: rates.closing,
    recoveryStepSeconds: rates.recoveryStep,
    evaluationSeconds: evaluationSeconds({ ...run, settings: chosen }, rates),
    ...stepsOf(chosen),
  };
}

const stepsOf = ({ totalSteps, recoverSteps }: RunSettings): Pick<v1.MeasuredPlan, 'totalSteps' | 'recoverSteps'> => ({
  totalSteps: BigInt(totalSteps),
  recoverSteps: BigInt(recoverSteps),
});
