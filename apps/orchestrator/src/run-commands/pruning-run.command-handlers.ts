// Commands about a run that exists: load, decide, append.
import { Inject } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { CancelRun, PauseRun, ResumeRun, type Changed } from './pruning-run.commands.js';
import { runNotFound } from '../pruning-run/aggregate/pruning-run.errors.js';
import type { RunChange } from '../pruning-run/aggregate/run-change.js';
import { RunRepository } from '../pruning-run/run-repository.js';

async function changed(runs: RunRepository, runId: string, change: RunChange): Promise<Changed> {
  if ((await runs.find(runId)) === null) throw runNotFound(runId);
  const { run, facts } = await runs.change(runId, change);
  return { runId, revision: run.revision, alreadyDone: facts.length === 0 };
}

@CommandHandler(ResumeRun)
export class ResumeRunHandler implements ICommandHandler<ResumeRun> {
  constructor(@Inject(RunRepository) private readonly runs: RunRepository) {}

  execute({ runId, from, acceptOtherNumerics }: ResumeRun): Promise<Changed> {
    return changed(this.runs, runId, { kind: 'resume', from, acceptOtherNumerics });
  }
}

@CommandHandler(PauseRun)
export class PauseRunHandler implements ICommandHandler<PauseRun> {
  constructor(@Inject(RunRepository) private readonly runs: RunRepository) {}

  execute({ runId }: PauseRun): Promise<Changed> {
    return changed(this.runs, runId, { kind: 'requestPause' });
  }
}

@CommandHandler(CancelRun)
export class CancelRunHandler implements ICommandHandler<CancelRun> {
  constructor(@Inject(RunRepository) private readonly runs: RunRepository) {}

  execute({ runId, reason }: CancelRun): Promise<Changed> {
    return changed(this.runs, runId, { kind: 'cancel', reason });
  }
}
