// Answers the commands of RunService by the command bus. It contains no rules.
import { Inject, Injectable } from '@nestjs/common';
import type { handleUnaryCall } from '@grpc/grpc-js';
import { CommandBus } from '@nestjs/cqrs';
import { invalidField, serverStreaming, unary, v1, type CallInfo } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import type { OrchestratorConfig } from '../config.js';
import { DriverLease } from '../storage/driver-lease.js';
import { CancelRun, DescribeRun, ForkRun, LaunchRun, PauseRun, ResumeRun, type Changed } from '../run-commands/pruning-run.commands.js';
import { waitsForSteps } from '../pruning-run/aggregate/pruning-run.js';
import { shareGoneAt } from '../pruning-run/method/budget.js';
import { targetWarnings } from '../pruning-run/planning/target-sparsity.js';
import { diskPlan, diskWarnings } from '../pruning-run/planning/disk-plan.js';
import { roomForArtifacts } from '../storage/free-space.js';
import { memoryWarnings } from '../pruning-run/planning/memory-warnings.js';
import { PlanMeasurement } from '../run-services/plan-measurement.js';
import { ModelServices } from '../run-services/model-services.js';
import { RunServices } from '../run-services/run-services.js';
import type { Progress } from '../run-services/work.js';
import { RunTexts } from '../run-services/run-texts.js';
import { Callers } from './admission/callers.js';
import { RunPlans } from './run-plans.js';
import { describeRequest, forkRequest, launchRequest, planRequest, startingPoint } from './run-requests.js';
import { evaluationMessage, exportFactMessage, exportMessage, factMessage } from '../views/run-message.js';
import { RunViews } from '../views/run-views.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { ORCHESTRATOR_CONFIG } from '../provider-names.js';

type RunCommands = Pick<
  v1.RunServiceServer,
  | 'planRun'
  | 'queryFrontier'
  | 'measurePlan'
  | 'launchRun'
  | 'forkRun'
  | 'resumeRun'
  | 'pauseRun'
  | 'cancelRun'
  | 'describeRun'
  | 'evaluateRun'
  | 'evaluateTasks'
  | 'generate'
  | 'benchRun'
  | 'exportRun'
>;

@Injectable()
export class RunGrpc {
  constructor(
    @Inject(CommandBus) private readonly commands: CommandBus,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(RunServices) private readonly services: RunServices,
    @Inject(ModelServices) private readonly models: ModelServices,
    @Inject(RunTexts) private readonly texts: RunTexts,
    @Inject(RunPlans) private readonly plans: RunPlans,
    @Inject(PlanMeasurement) private readonly planMeasurement: PlanMeasurement,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(Callers) private readonly callers: Callers,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: OrchestratorConfig,
  ) {}

  handlers(): RunCommands {
    const { commands, views, services } = this;
    // A standby orchestrator only answers questions.
    const command = <Request, Response>(
      handle: (request: Request, by: CallContext, signal: AbortSignal) => Promise<Response>,
    ): handleUnaryCall<Request, Response> =>
      unary(async (request: Request, signal, call) => handle(request, await this.accepted(call), signal));
    return {
      planRun: unary((request: v1.PlanRunRequest) => this.plans.plan(request)),
      queryFrontier: unary((request: v1.QueryFrontierRequest) => this.plans.frontier(request)),
      measurePlan: serverStreaming((request: v1.MeasurePlanRequest, signal, call) => this.measurePlan(request, signal, call)),
      launchRun: command(async (request: v1.LaunchRunRequest, by, signal): Promise<v1.LaunchRunResponse> =>
        this.launched(await commands.execute(new LaunchRun(launchRequest(request), by, signal))),
      ),
      forkRun: command(async (request: v1.ForkRunRequest, by, signal): Promise<v1.ForkRunResponse> => {
        const fork = forkRequest(request);
        const parentRunId = await views.wholeRunId(request.parentRunId, 'parent_run_id');
        return this.launched(await commands.execute(new ForkRun({ ...fork, parentRunId }, by, signal)));
      }),
      resumeRun: command(async ({ runId, from, acceptOtherNumerics }: v1.ResumeRunRequest, by): Promise<v1.ResumeRunResponse> => {
        const start = startingPoint(from);
        return this.changed(await commands.execute(new ResumeRun(await views.wholeRunId(runId), start, acceptOtherNumerics, by)));
      }),
      pauseRun: command(async ({ runId }: v1.PauseRunRequest, by): Promise<v1.PauseRunResponse> =>
        this.changed(await commands.execute(new PauseRun(await views.wholeRunId(runId), by))),
      ),
      cancelRun: command(async ({ runId, reason }: v1.CancelRunRequest, by): Promise<v1.CancelRunResponse> =>
        this.changed(await commands.execute(new CancelRun(await views.wholeRunId(runId), reason, by))),
      ),
      describeRun: command(async (request: v1.DescribeRunRequest, by): Promise<v1.DescribeRunResponse> => {
        const description = describeRequest(request);
        return this.changed(await commands.execute(new DescribeRun(await views.wholeRunId(request.runId), description, by)));
      }),
      evaluateRun: serverStreaming((request: v1.EvaluateRunRequest, signal, call) => this.evaluate(request, services, signal, call)),
      evaluateTasks: serverStreaming((request: v1.EvaluateTasksRequest, signal, call) =>
        this.evaluateTasks(request, services, signal, call),
      ),
      generate: serverStreaming((request: v1.GenerateRequest, signal, call) => this.generate(request, signal, call)),
      benchRun: serverStreaming((request: v1.BenchRunRequest, signal, call) => this.bench(request, signal, call)),
      exportRun: serverStreaming((request: v1.ExportRunRequest, signal, call) => this.export(request, services, signal, call)),
    };
  }

  /** Checks that changes are possible, and returns the caller of the change. */
  private async accepted(call: CallInfo): Promise<CallContext> {
    await this.storage.requireRoom();
    this.lease.requireHeld();
    return this.callers.contextOf(call);
  }

  private async changed({ runId, revision }: Changed): Promise<{ run: v1.Run }> {
    return { run: await this.views.getRun(runId, { atRevision: revision }) };
  }

  private async launched(changed: Changed): Promise<{ run: v1.Run; alreadyLaunched: boolean; warnings: v1.PlanWarning[] }> {
    const summary = await this.views.summary(changed.runId, { atRevision: changed.revision });
    const { settings, origin, budget, model } = summary.run;
    const { memory, alreadyDone } = changed;
    const open = { stepsToChoose: waitsForSteps(summary.run) };
    const planned =
      memory === undefined
        ? []
        : [...diskWarnings(diskPlan(settings, memory, await roomForArtifacts(this.config), open)), ...memoryWarnings(settings, memory)];
    return {
      run: this.views.message(summary),
      alreadyLaunched: alreadyDone,
      warnings: [
        ...this.nameWarnings(summary.run),
        ...targetWarnings(settings, origin?.from, budget && shareGoneAt(budget, model, settings)),
        ...planned,
      ],
    };
  }

  /** Warns of a name that another run has. A launch may take it: runs of a study have the name of their variant. */
  private nameWarnings({ name, runId }: { name: string; runId: string }): v1.PlanWarning[] {
    const [other] = this.views.othersNamed(name, runId);
    if (other === undefined) return [];
    const message = `name: run ${other} has the name ${JSON.stringify(name)} too, so neither can be named by it; their ids tell them apart`;
    return [{ code: 'NAME_TAKEN', field: 'name', message }];
  }

  private async *evaluate(
    request: v1.EvaluateRunRequest,
    services: RunServices,
    signal: AbortSignal,
    call: CallInfo,
  ): AsyncGenerator<v1.EvaluateRunResponse> {
    const by = await this.accepted(call);
    if (request.modelPath !== '') {
      for await (const news of this.models.evaluate(request, by, signal))
        yield { ...progress(news), evaluation: 'result' in news ? factMessage(news.result) : undefined };
      return;
    }
    for await (const news of services.evaluateRun(request, await this.views.wholeRunId(request.runId), by, signal)) {
      yield { ...progress(news), evaluation: 'result' in news ? evaluationMessage(news.result.run, news.result.evaluation) : undefined };
    }
  }

  private async *evaluateTasks(
    request: v1.EvaluateTasksRequest,
    services: RunServices,
    signal: AbortSignal,
    call: CallInfo,
  ): AsyncGenerator<v1.EvaluateTasksResponse> {
    const by = await this.accepted(call);
    if (request.modelPath !== '') {
      for await (const news of this.models.evaluateTasks(request, by, signal)) {
        const evaluations = 'result' in news ? news.result.map(factMessage) : [];
        yield { ...progress(news), doing: 'doing' in news ? news.doing : '', evaluations };
      }
      return;
    }
    for await (const news of services.evaluateTasks(request, await this.views.wholeRunId(request.runId), by, signal)) {
      const { run, evaluations } = 'result' in news ? news.result : { run: null, evaluations: [] };
      yield {
        ...progress(news),
        doing: 'doing' in news ? news.doing : '',
        evaluations: evaluations.map((one) => evaluationMessage(run!, one)),
      };
    }
  }

  private async *generate(request: v1.GenerateRequest, signal: AbortSignal, call: CallInfo): AsyncGenerator<v1.GenerateResponse> {
    await this.accepted(call);
    const runId = request.modelPath === '' ? await this.views.wholeRunId(request.runId) : '';
    yield* this.texts.generate(request, runId, signal);
  }

  private async *measurePlan({ plan }: v1.MeasurePlanRequest, signal: AbortSignal, call: CallInfo): AsyncGenerator<v1.MeasurePlanResponse> {
    await this.accepted(call);
    if (plan === undefined) throw invalidField('FIELD_REQUIRED', 'plan', 'is needed: the plan of a launch');
    const asked = planRequest(plan);
    if (!('launch' in asked)) throw invalidField('REQUEST_INVALID', 'plan.parent_run_id', 'must be empty: only launches are measured');
    if (asked.card !== null) throw invalidField('REQUEST_INVALID', 'plan.for_device', 'must be empty: an engine of this server measures');
    const { modelPath, settings } = asked.launch;
    for await (const news of this.planMeasurement.measure(modelPath, settings, signal))
      yield { ...progress(news), measured: 'result' in news ? news.result : undefined };
  }

  private async *bench(request: v1.BenchRunRequest, signal: AbortSignal, call: CallInfo): AsyncGenerator<v1.BenchRunResponse> {
    const by = await this.accepted(call);
    const measured =
      request.modelPath === ''
        ? this.services.benchRun(request, await this.views.wholeRunId(request.runId), by, signal)
        : this.models.bench(request, by, signal);
    for await (const news of measured) {
      yield { ...progress(news), outcome: 'result' in news ? news.result : undefined };
    }
  }

  private async *export(
    request: v1.ExportRunRequest,
    services: RunServices,
    signal: AbortSignal,
    call: CallInfo,
  ): AsyncGenerator<v1.ExportRunResponse> {
    const by = await this.accepted(call);
    if (request.modelPath !== '') {
      for await (const news of this.models.export(request, by, signal))
        yield { ...progress(news), export: 'result' in news ? exportFactMessage(news.result) : undefined };
      return;
    }
    for await (const news of services.exportRun(request, await this.views.wholeRunId(request.runId), by, signal)) {
      yield { ...progress(news), export: 'result' in news ? exportMessage(news.result) : undefined };
    }
  }
}

function progress(news: Progress<unknown>): { doneShare: number; waitingFor: string } {
  return {
    doneShare: 'doneShare' in news ? news.doneShare : 'result' in news ? 1 : 0,
    waitingFor: 'waitingFor' in news ? news.waitingFor : '',
  };
}
