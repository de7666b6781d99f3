// Accepts a run after every check that is cheap; the run is prepared afterwards.
import { Inject } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import type { ArtifactStore } from '#artifact-store';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import { requireMemory } from '../run-inputs/run-plan.js';
import { alreadyLaunched, launchOnce } from './launch-once.js';
import { LaunchRun, type Changed } from './pruning-run.commands.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { ARTIFACT_STORE } from '../provider-names.js';
import { RunQuota } from './run-quota.js';
import { RunViews } from '../views/run-views.js';

type LaunchParts = Pick<LaunchRun, 'request' | 'by' | 'signal'>;

@CommandHandler(LaunchRun)
export class LaunchRunHandler implements ICommandHandler<LaunchRun> {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(RunQuota) private readonly quota: RunQuota,
  ) {}

  async execute({ request, by, signal }: LaunchRun): Promise<Changed> {
    return launchOnce({ runs: this.runs, quota: this.quota }, { request, by }, (runId, requestDigest) =>
      this.launch(runId, requestDigest, { request, by, signal }),
    );
  }

  private async launch(runId: string, requestDigest: string, { request, by, signal }: LaunchParts): Promise<Changed> {
    const { requestId, name, tags, note, modelPath, data: source } = request;
    this.views.requireOwnName(name);
    const plan = await this.sources.plan(modelPath, request.settings);
    requireMemory(plan);
    const { model, settings, following, budget } = plan;
    const data = await this.sources.namedData(source, { model, settings }, signal);
    signal.throwIfAborted(); // a request whose client has gone launches nothing
    if (plan.speedTable !== null) await this.artifacts.put(plan.speedTable);

    const launch = {
      kind: 'launch',
      runId,
      name,
      tags,
      note,
      requestId,
      requestDigest,
      model,
      data,
      settings,
      ...(following === undefined ? {} : { following }),
      ...(budget === null ? {} : { budget }),
    } as const;
    const { run, facts } = await this.runs.change(runId, launch, { by });
    // No new fact means that another call with the same request was faster.
    return facts.length === 0
      ? alreadyLaunched(run, requestDigest)
      : { runId, revision: run.revision, alreadyDone: false, memory: plan.memory };
  }
}
