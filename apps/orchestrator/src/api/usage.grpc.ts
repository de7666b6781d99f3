// Answers the calls about priorities of runs and engine time.
import { Inject, Injectable } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import { EspalierError, invalidField, unary, v1 } from '#protocol';
import { CallerHours } from '../hours/caller-hours.js';
import { usageRows, type UsageBy } from '../queries/usage.js';
import { PrioritizeRun } from '../run-commands/pruning-run.commands.js';
import { DriverLease } from '../storage/driver-lease.js';
import { StorageWatch } from '../storage/storage-watch.js';
import { StudyRepository } from '../studies/study-repository.js';
import { RunViews } from '../views/run-views.js';
import { Callers } from './admission/callers.js';

const PRIORITY_MAX = 100;
const ROWS_MAX = 5_000;
const BY: Partial<Record<v1.UsageBy, UsageBy>> = {
  [v1.UsageBy.USAGE_BY_UNSPECIFIED]: 'caller',
  [v1.UsageBy.USAGE_BY_CALLER]: 'caller',
  [v1.UsageBy.USAGE_BY_RUN]: 'run',
  [v1.UsageBy.USAGE_BY_STUDY]: 'study',
};
/** The roles that may put a run before the runs of others. */
const MAY_RAISE = ['admin', 'owner'];

@Injectable()
export class UsageGrpc {
  constructor(
    @Inject(CommandBus) private readonly commands: CommandBus,
    @Inject(CallerHours) private readonly hours: CallerHours,
    @Inject(StudyRepository) private readonly studies: StudyRepository,
    @Inject(RunViews) private readonly views: RunViews,
    @Inject(DriverLease) private readonly lease: DriverLease,
    @Inject(StorageWatch) private readonly storage: StorageWatch,
    @Inject(Callers) private readonly callers: Callers,
  ) {}

  handlers(): Pick<v1.RunServiceServer, 'prioritizeRun' | 'getUsage'> {
    return {
      prioritizeRun: unary(async ({ runId, priority }: v1.PrioritizeRunRequest, _signal, call): Promise<v1.PrioritizeRunResponse> => {
        await this.storage.requireRoom();
        this.lease.requireHeld();
        const by = this.callers.contextOf(call);
        requirePriority(priority, by.roles);
        const { runId: id, revision } = await this.commands.execute(new PrioritizeRun(await this.views.wholeRunId(runId), priority, by));
        return { run: await this.views.getRun(id, { atRevision: revision }) };
      }),
      getUsage: unary((request: v1.GetUsageRequest) => this.usage(request)),
    };
  }

  private async usage(request: v1.GetUsageRequest): Promise<v1.GetUsageResponse> {
    const fromMs = msOf(request.from, 'from') ?? 0;
    const untilMs = Math.min(msOf(request.until, 'until') ?? Infinity, this.views.now());
    if (request.until !== undefined && request.until.getTime() <= fromMs)
      throw invalidField('FIELD_OUT_OF_RANGE', 'until', 'must be later than from');
    const by = BY[request.by];
    if (by === undefined) throw invalidField('FIELD_OUT_OF_RANGE', 'by', 'must be USAGE_BY_CALLER, USAGE_BY_RUN or USAGE_BY_STUDY');
    await this.views.ready();
    const question = { fromMs, untilMs, by, caller: request.caller };
    const studyOf = by === 'study' ? await this.studiesByRun() : new Map<string, never>();
    const rows = usageRows(this.views, question, (runId) => studyOf.get(runId));
    return {
      rows: rows.slice(0, ROWS_MAX),
      moreRows: Math.max(0, rows.length - ROWS_MAX),
      engineSeconds: rows.reduce((sum, { engineSeconds }) => sum + engineSeconds, 0),
      quotas: by === 'caller' ? rows.flatMap(({ caller }) => this.quotaOf(caller)) : [],
    };
  }

  private quotaOf(caller: string): v1.EngineQuota[] {
    const quota = this.hours.quotaOf(caller);
    if (quota === null) return [];
    return [{ caller, allowedSeconds: quota.hours * 3_600, usedSeconds: quota.usedSeconds, days: quota.days }];
  }

  private async studiesByRun(): Promise<Map<string, { studyId: string; name: string }>> {
    await this.studies.start();
    return new Map(
      this.studies
        .all()
        .flatMap(({ studyId, name, runs }) => runs.flatMap(({ runId }) => (runId === null ? [] : [[runId, { studyId, name }] as const]))),
    );
  }
}

/** @throws EspalierError FIELD_OUT_OF_RANGE for seconds that are no time of a calendar */
function msOf(time: Date | undefined, field: string): number | undefined {
  const ms = time?.getTime();
  if (Number.isNaN(ms)) throw invalidField('FIELD_OUT_OF_RANGE', field, 'must be within 100 million days of 1970');
  return ms;
}

/** @throws EspalierError FIELD_OUT_OF_RANGE, ROLE_TOO_LOW */
function requirePriority(priority: number, roles: readonly string[]): void {
  if (Math.abs(priority) > PRIORITY_MAX)
    throw invalidField('FIELD_OUT_OF_RANGE', 'priority', `must be from -${PRIORITY_MAX} to ${PRIORITY_MAX}, is ${priority}`);
  if (priority > 0 && !roles.some((role) => MAY_RAISE.includes(role)))
    throw new EspalierError('ROLE_TOO_LOW', 'a priority above 0 puts a run before those of others: that is for the role admin', {
      metadata: { role: roles.join(','), needed: 'admin' },
    });
}
