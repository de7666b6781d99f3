// Handles the commands about an existing run: load it, decide, append.
import { Inject } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { invalidField } from '#protocol';
import { EnginePool } from '../engine-pool/engine-pool.js';
import { CancelRun, DescribeRun, PauseRun, PrioritizeRun, ResumeRun, type Changed } from './pruning-run.commands.js';
import { numericsChanged } from '../pruning-run/aggregate/engine-decisions.js';
import { decide, stepOf, type PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { runNotFound } from '../pruning-run/aggregate/pruning-run.errors.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import type { Resume, RunChange } from '../pruning-run/aggregate/pruning-run.decisions.js';
import { endStepOf } from '../pruning-run/method/phases.js';
import { RunQuota } from './run-quota.js';
import { RunRepository } from '../pruning-run/run-repository.js';
import { RunViews } from '../views/run-views.js';

async function changed(runs: RunRepository, runId: string, change: RunChange, by: CallContext): Promise<Changed> {
  if ((await runs.find(runId)) === null) throw runNotFound(runId);
  const { run, facts } = await runs.change(runId, change, { by });
  return { runId, revision: run.revision, alreadyDone: facts.length === 0 };
}

@CommandHandler(ResumeRun)
export class ResumeRunHandler implements ICommandHandler<ResumeRun> {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunQuota) private readonly quota: RunQuota,
    @Inject(EnginePool) private readonly pool: Pick<EnginePool, 'placeToGoOn'>,
  ) {}

  /** A run that had ended counts for the caller who launched it, though another one makes it go on. */
  async execute({ runId, from, acceptOtherNumerics, by }: ResumeRun): Promise<Changed> {
    const run = await this.runs.load(runId);
    const change: Resume = { kind: 'resume', from, acceptOtherNumerics };
    if (!acceptOtherNumerics) await this.requireNumerics(run, change);
    const owner = { ...by, actor: run.launchedBy ?? by.actor };
    return this.quota.launching(owner, runId, () => changed(this.runs, runId, change, by));
  }

  /**
   * Refuses a run whose next step no engine here would do in the same bits. A run that has ended would lose its end, and a paused one would
   * only be paused again. A run without a step left is evaluated on any numerics.
   */
  private async requireNumerics(run: PruningRunState, change: Resume): Promise<void> {
    const [fact] = decide(run, change, new Date().toISOString());
    const step = fact?.type === 'RunRewound' ? fact.data.toStep : stepOf(run);
    if (run.numericsFingerprint === null || step >= endStepOf(run.settings)) return;
    const place = await this.pool.placeToGoOn(run);
    if (place === null || place.numericsFingerprint === run.numericsFingerprint) return;
    const engine = `engine ${place.engine}, where it would go on,`;
    throw numericsChanged(run, run.numericsFingerprint, place.numericsFingerprint, engine);
  }
}

@CommandHandler(PauseRun)
export class PauseRunHandler implements ICommandHandler<PauseRun> {
  constructor(@Inject(RunRepository) private readonly runs: RunRepository) {}

  execute({ runId, by }: PauseRun): Promise<Changed> {
    return changed(this.runs, runId, { kind: 'requestPause' }, by);
  }
}

@CommandHandler(CancelRun)
export class CancelRunHandler implements ICommandHandler<CancelRun> {
  constructor(@Inject(RunRepository) private readonly runs: RunRepository) {}

  execute({ runId, reason, by }: CancelRun): Promise<Changed> {
    return changed(this.runs, runId, { kind: 'cancel', reason }, by);
  }
}

@CommandHandler(PrioritizeRun)
export class PrioritizeRunHandler implements ICommandHandler<PrioritizeRun> {
  constructor(@Inject(RunRepository) private readonly runs: RunRepository) {}

  execute({ runId, priority, by }: PrioritizeRun): Promise<Changed> {
    return changed(this.runs, runId, { kind: 'prioritize', priority }, by);
  }
}

@CommandHandler(DescribeRun)
export class DescribeRunHandler implements ICommandHandler<DescribeRun> {
  constructor(
    @Inject(RunRepository) private readonly runs: RunRepository,
    @Inject(RunViews) private readonly views: RunViews,
  ) {}

  async execute({ runId, description, by }: DescribeRun): Promise<Changed> {
    const { name = '' } = description;
    this.views.requireOwnName(name);
    const [other] = this.views.othersNamed(name, runId);
    if (other !== undefined)
      throw invalidField('RUN_NAME_TAKEN', 'name', `run ${other} has the name ${JSON.stringify(name)}; give that one another first`);
    return changed(this.runs, runId, { kind: 'describe', ...description }, by);
  }
}
