// The number of runs that one caller may have under way (--runs-per-caller): those that the caller has launched and that have not ended,
// paused ones too. Admins and the owner of the data folder have no limit, and the server's own work has none.
import { Inject, Injectable } from '@nestjs/common';
import { counted, EspalierError } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import { ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { RunViews } from '../views/run-views.js';

const WITHOUT_LIMIT = ['admin', 'owner', 'system'];

/**
 * The message names the caller, since others read it too where the caller's study waits.
 * @param underWay the ids of the caller's runs
 * @throws EspalierError RUNS_TOO_MANY
 */
function requireFewer(limit: number, { caller, underWay }: { caller: string; underWay: ReadonlySet<string> }, runId: string): void {
  if (underWay.has(runId) || underWay.size < limit) return;
  throw new EspalierError(
    'RUNS_TOO_MANY',
    `${caller} has ${counted(underWay.size, 'run')} that ${underWay.size === 1 ? 'has' : 'have'} not ended, and one caller may have ` +
      `${counted(limit, 'run')} here: wait until one ends, or cancel one; a paused run counts`,
  );
}

@Injectable()
export class RunQuota {
  /** Runs whose launch is being decided, or is not in the views yet, by their callers. */
  private readonly onTheWay = new Map<string, Set<string>>();

  constructor(
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'runsPerCaller'>,
    @Inject(RunViews) private readonly views: Pick<RunViews, 'unfinishedOf' | 'summary'>,
  ) {}

  /** Launches the run, or makes it go on, where its caller may have one more. @throws EspalierError RUNS_TOO_MANY */
  async launching<T extends { revision: number }>(by: CallContext, runId: string, launch: () => Promise<T>): Promise<T> {
    const { runsPerCaller: limit } = this.config;
    if (limit === 0 || by.roles.some((role) => WITHOUT_LIMIT.includes(role))) return launch();
    const recorded = await this.views.unfinishedOf(by.actor);
    const mine = this.onTheWay.get(by.actor) ?? new Set<string>();
    requireFewer(limit, { caller: by.actor, underWay: new Set([...recorded, ...mine]) }, runId);
    this.onTheWay.set(by.actor, mine.add(runId)); // in the same moment as the check
    const leave = (): void => {
      mine.delete(runId);
      if (mine.size === 0) this.onTheWay.delete(by.actor);
    };
    try {
      const launched = await launch();
      void this.views.summary(runId, { atRevision: launched.revision }).then(leave, leave);
      return launched;
    } catch (error) {
      leave();
      throw error;
    }
  }
}
