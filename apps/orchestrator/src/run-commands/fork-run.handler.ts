// Forks a run from a state of its parent. The state's artifact is pinned while the fork is decided, because the parent may go on and drop
// it.
import { Inject } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import type { ArtifactStore } from '#artifact-store';
import { StateKeeper } from '../retention/state-keeper.js';
import { ARTIFACT_STORE } from '../provider-names.js';
import { forkedRun, requireStart } from './forked-run.js';
import { alreadyLaunched, launchOnce } from './launch-once.js';
import { ModelAndData } from '../run-inputs/model-and-data.js';
import { ForkRun, type Changed } from './pruning-run.commands.js';
import type { DataIdentity } from '../pruning-run/record/pruning-run.events.js';
import { neededStates, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { settingsOfFork } from '../pruning-run/aggregate/starting-points.js';
import type { Fork } from '../pruning-run/aggregate/starting-points.js';
import { RunQuota } from './run-quota.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { RunViews } from '../views/run-views.js';

@CommandHandler(ForkRun)
export class ForkRunHandler implements ICommandHandler<ForkRun> {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(ModelAndData) private readonly sources: ModelAndData,
    @Inject(StateKeeper) private readonly keeper: StateKeeper,
    @Inject(ARTIFACT_STORE) private readonly artifacts: ArtifactStore,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(RunQuota) private readonly quota: RunQuota,
  ) {}

  async execute({ request, by, signal }: ForkRun): Promise<Changed> {
    return launchOnce({ runs: this.runs, quota: this.quota }, { request, by }, (runId, requestDigest) =>
      this.fork(runId, requestDigest, { request, by, signal }),
    );
  }

  private async fork(
    runId: string,
    requestDigest: string,
    { request, by, signal }: Pick<ForkRun, 'request' | 'by' | 'signal'>,
  ): Promise<Changed> {
    const { requestId, name, tags, note, parentRunId, from, overrides } = request;
    this.views.requireOwnName(name);
    const parent = await this.runs.load(parentRunId);
    const data = await this.otherData(request, parent, signal);
    const change: Fork = { kind: 'fork', runId, name, tags, note, requestId, requestDigest, parent, from, overrides, data };
    const pinned = [...neededStates(forkedRun(change))];
    for (const digest of pinned) await this.keeper.pin(digest);
    try {
      // The parent may have been deleted or lost teachers before its states were pinned.
      await requireStart(forkedRun({ ...change, parent: await this.runs.load(parentRunId) }), this.artifacts, pinned);
      signal.throwIfAborted();
      const { run, facts } = await this.runs.change(runId, change, { by });
      const answer = facts.length === 0 ? alreadyLaunched(run, requestDigest) : { runId, revision: run.revision, alreadyDone: false };
      for (const digest of pinned) this.keeper.releaseAfter(digest, runId, run.revision);
      return answer;
    } catch (error) {
      for (const digest of pinned) this.keeper.release(digest);
      throw error;
    }
  }

  /**
   * Describes the texts of a fork that has other texts than its parent. The texts are only named: the fork reads them when it is prepared,
   * and must find its parent's tokenizer. The validation text may be the parent's.
   */
  private async otherData(
    { data: source, overrides }: Pick<ForkRun['request'], 'data' | 'overrides'>,
    parent: PruningRunState,
    signal: AbortSignal,
  ): Promise<DataIdentity | null> {
    if (source === null) return null;
    const settings = settingsOfFork(parent.settings, overrides, parent.budget ?? null);
    const about = { model: parent.model, settings, parent: parent.data };
    return { ...(await this.sources.namedData(source, about, signal)), tokenizerDigest: parent.data.tokenizerDigest };
  }
}
