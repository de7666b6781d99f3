// Answers PlanRun: the settings of a launch or a fork in full, and the memory, disk and time that its steps would take.
import { Inject, Injectable } from '@nestjs/common';
import type { ArtifactStore } from '#artifact-store';
import { enumWords, invalidField, settingsMessageOfRun, v1 } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { NO_WIDTHS, shareGoneAt } from '../pruning-run/method/budget.js';
import { endStepOf } from '../pruning-run/method/phases.js';
import { settingsToChoose, type RequestedSettings } from '../pruning-run/method/run-settings.js';
import type { NamedCard } from '../pruning-run/planning/cards.js';
import { diskPlan, diskWarnings } from '../pruning-run/planning/disk-plan.js';
import { memoryWarnings } from '../pruning-run/planning/memory-warnings.js';
import {
  realModelAdvice,
  recipeAdvice,
  recoveryRateAdvice,
  smallModelAdvice,
  targetAdvice,
} from '../pruning-run/planning/recipe-advice.js';
import { estimatedSize, resultSize, resultWarnings, type ResultSize } from '../pruning-run/planning/result-size.js';
import { targetWarnings, type SettingsWarning } from '../pruning-run/planning/target-sparsity.js';
import type { RunSettings } from '../pruning-run/record/pruning-run.events.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { ARTIFACT_STORE, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { forkedRun, requireStart } from '../run-commands/forked-run.js';
import type { ForkRun } from '../run-commands/pruning-run.commands.js';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import type { RunPlan } from '../run-inputs/run-plan.js';
import { roomForArtifacts } from '../storage/free-space.js';
import { resultMessage } from '../views/run-message.js';
import { RunViews } from '../views/run-views.js';
import { budgetPlan, cardMessage, memoryMessage } from './plan-message.js';
import { planRequest } from './run-requests.js';

/** The shares of the parameters for which a library is asked. */
const LEAST_SHARE = 0.05;
const MOST_SHARES = 64;
const MOST_CHOICES = 16;
/** The most runs of a library that are shown with it. */
const MOST_RUNS = 500;
const USUAL_SHARES = Array.from({ length: 11 }, (_, index) => (20 - index) / 20);

@Injectable()
export class RunPlans {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: OrchestratorConfig,
  ) {}

  async plan(request: v1.PlanRunRequest): Promise<v1.PlanRunResponse> {
    const asked = planRequest(request);
    const { card } = asked;
    if ('launch' in asked) {
      const { modelPath, settings } = asked.launch;
      const plan = await this.sources.plan(modelPath, settings, card?.figures);
      const { result, budget } = resultAtTarget(plan, settings);
      return this.message(plan, card, { result, budget, advice: launchAdvice(plan, settings, result) });
    }
    const parentRunId = await this.views.wholeRunId(request.parentRunId, 'parent_run_id');
    const fork = await this.fork({ parentRunId, ...asked.fork });
    const plan = await this.sources.planOf(fork, card?.figures);
    return this.message(plan, card, { ...resultOfFork(plan, fork), advice: [] }, fork);
  }

  /** Answers QueryFrontier: the best choices of a library's layers at each size, and what training made of some. */
  async frontier({ runId, shares, choices, shapeTarget }: v1.QueryFrontierRequest): Promise<v1.QueryFrontierResponse> {
    if (shares.length > MOST_SHARES) throw invalidField('FIELD_OUT_OF_RANGE', 'shares', `up to ${MOST_SHARES} shares are allowed`);
    const wrong = shares.findIndex((share) => !(share >= LEAST_SHARE && share <= 1));
    if (wrong >= 0) throw invalidField('FIELD_OUT_OF_RANGE', `shares[${wrong}]`, `must be from ${LEAST_SHARE} to 1, is ${shares[wrong]}`);
    if (choices > MOST_CHOICES) throw invalidField('FIELD_OUT_OF_RANGE', 'choices', `must be at most ${MOST_CHOICES}, is ${choices}`);
    const targets = enumWords(v1.ShapeTarget, 'SHAPE_TARGET_');
    const target = targets[Math.max(0, shapeTarget - 1)];
    if (target === undefined) throw invalidField('FIELD_UNKNOWN_VALUE', 'shape_target', `must be one of ${targets.join(', ')}`);
    const library = await this.runs.load(await this.views.wholeRunId(runId, 'run_id'));
    const { points, intactParameters, predicted } = await this.sources.frontier(library, {
      shares: shares.length > 0 ? shares : USUAL_SHARES,
      choices: Math.max(1, choices),
      shapeTarget: target,
    });
    const launched = v1.ListRunsRequest.fromPartial({
      where: [`library=${library.runId}`],
      orderBy: 'parameters_left desc',
      pageSize: MOST_RUNS,
    });
    const { runs } = await this.views.listRuns(launched);
    return {
      points: points.map(({ prunableSparsity, parameters, bytes, ...point }) => ({
        ...point,
        parameters: BigInt(parameters),
        sparsity: prunableSparsity,
        weightBytes: BigInt(Math.round(bytes)),
      })),
      intactParameters: BigInt(intactParameters),
      runs: runs.map((run) => ({ run, kl: predicted(run.settings?.layerWidths ?? NO_WIDTHS) ?? undefined })),
    };
  }

  /** The fork as it would be, with the text of its parent. */
  private async fork({ parentRunId, from, overrides }: Pick<ForkRun['request'], 'parentRunId' | 'from' | 'overrides'>) {
    const parent = await this.runs.load(parentRunId);
    const unnamed = { runId: '', name: '', requestId: '', requestDigest: '' };
    const fork = forkedRun({ kind: 'fork', ...unnamed, parent, from, overrides, data: null });
    await requireStart(fork, this.artifacts);
    return fork;
  }

  /** @param fork the planned fork, whose steps begin at its parent's state; left out for a launch */
  private async message(
    plan: RunPlan,
    card: NamedCard | null,
    { result, budget, advice }: Expected & { advice: SettingsWarning[] },
    fork?: PruningRunState,
  ): Promise<v1.PlanRunResponse> {
    const { model, settings, memory, change, engine } = plan;
    const stepsToChoose = plan.following !== undefined;
    const start = fork?.origin?.from;
    const firstStep = start?.step ?? 0;
    const disk = diskPlan(settings, memory, await roomForArtifacts(this.config), { fork, stepsToChoose });
    return {
      settings: settingsMessageOfRun(settings, settingsToChoose(settings, plan.following)),
      parameterCount: BigInt(model.parameterCount),
      prunableParameterCount: BigInt(model.prunableParameterCount),
      hiddenSize: model.hiddenSize,
      memory: memoryMessage({ memory, change }),
      card: card === null ? undefined : cardMessage(card, plan, firstStep),
      warnings: [
        ...(stepsToChoose
          ? []
          : targetWarnings(settings, start, plan.budget === null ? undefined : shareGoneAt(plan.budget, model, settings))),
        ...diskWarnings(disk),
        ...memoryWarnings(settings, memory),
        ...(result === undefined ? [] : resultWarnings(result, settings, plan.budget)),
        ...advice,
      ],
      result: result && resultMessage(result),
      budget,
      disk,
      engine,
      stepsToChoose,
      ...this.estimate(model.path, settings, firstStep),
      forkedAtStep: start && BigInt(start.step),
    };
  }

  /** The duration of the steps or, with a time, the number of steps that fit it, by the speed of the last similar run. */
  private estimate(
    modelPath: string,
    settings: RunSettings,
    firstStep: number,
  ): Pick<v1.PlanRunResponse, 'estimatedSeconds' | 'estimatedSteps' | 'estimatedByRunId'> {
    const last = this.views.lastSpeed(modelPath, settings);
    if (last === null) return { estimatedByRunId: '' };
    const stepSeconds = (settings.batchSize * settings.sequenceLength) / last.tokensPerSecond;
    const estimatedByRunId = last.runId;
    if (settings.time > 0) return { estimatedSteps: BigInt(Math.round(settings.time / stepSeconds)), estimatedByRunId };
    return { estimatedSeconds: (endStepOf(settings) - firstStep) * stepSeconds, estimatedByRunId };
  }
}

/** The size of the pruned model and the budget, as far as they are known beforehand. */
interface Expected {
  result: ResultSize | undefined;
  budget: v1.Budget | undefined;
}

/** @param asked the settings that take no default */
function resultAtTarget(plan: RunPlan, asked: RequestedSettings): Expected {
  const { model, settings, budget } = plan;
  if (budget === null) return { result: estimatedSize(model, settings.targetSparsity), budget: undefined };
  const { result, message } = budgetPlan(plan, budget, asked);
  return { result, budget: message };
}

/** A fork that begins where pruning has ended keeps the masks of its first state, and so has that state's size. */
function resultOfFork(plan: RunPlan, { model, settings, origin }: PruningRunState): Expected {
  const atTarget = resultAtTarget(plan, settings);
  const from = origin?.from;
  return from === undefined || from.step < settings.totalSteps ? atTarget : { ...atTarget, result: resultSize(model, from) };
}

function launchAdvice({ model, settings, budget }: RunPlan, asked: RequestedSettings, result: ResultSize | undefined): SettingsWarning[] {
  return [
    ...recipeAdvice(settings),
    ...realModelAdvice(settings, model.parameterCount),
    ...(budget === null ? smallModelAdvice(settings, model.parameterCount) : []),
    ...recoveryRateAdvice(settings, model, asked, budget),
    ...(budget === null && result !== undefined ? targetAdvice(settings, model, result.parameterCount) : []),
  ];
}
