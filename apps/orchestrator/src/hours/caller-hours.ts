// The engine time of callers as the runs go on. The driver asks it whose turn is next, and who has used a quota up.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import type { EspalierError } from '#protocol';
import { RunFeed } from '../feed/run-feed.js';
import { LOGGER, QUOTAS } from '../provider-names.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { RunViews } from '../views/run-views.js';
import { HoursLedger } from './hours-ledger.js';
import { hoursOf, hoursUsed, type QuotaFile } from './quota-file.js';
import { callerOf, inTurn } from './turns.js';

const DAY_MS = 24 * 3_600_000;
/** The longest time that a quota may look back. */
const KEPT_MS = 366 * DAY_MS;
/** The driver asks for used up quotas many times a second, and an answer may be this old. */
const QUOTAS_VALID_MS = 1_000;

@Injectable()
export class CallerHours {
  private readonly ledger = new HoursLedger(KEPT_MS);
  private known = { atMs: -Infinity, byCaller: new Map<string, EspalierError | null>() };

  constructor(
    @Inject(RunFeed) private readonly feed: Pick<RunFeed, 'onChange'>,
    @Inject(RunViews) private readonly views: Pick<RunViews, 'attempts'>,
    @Inject(QUOTAS) private readonly quotas: QuotaFile | null,
    @Inject(LOGGER) log: Logger,
  ) {
    this.quotas?.reportTo(log);
    this.feed.onChange((run) => this.note(run));
  }

  /** Reads the attempts so far. Called when the feed has started, whose later news may overlap. */
  start(): void {
    for (const span of this.views.attempts(Date.now() - KEPT_MS, Infinity)) this.ledger.note(span);
  }

  private note(run: Pick<PruningRunState, 'runId' | 'launchedBy' | 'attempt' | 'attemptSpan'>): void {
    const { runId, attempt, attemptSpan: span } = run;
    if (span === null) return;
    const endedMs = span.endedAt === null ? null : Date.parse(span.endedAt);
    this.ledger.note({ caller: callerOf(run), runId, attempt, startedMs: Date.parse(span.startedAt), endedMs });
  }

  /** @param atWork the number of runs of each caller that have an engine */
  inTurn(waiting: readonly PruningRunState[], atWork: ReadonlyMap<string, number>): PruningRunState[] {
    const now = Date.now();
    return inTurn(
      waiting,
      (caller) => this.ledger.recentSeconds(caller, now),
      (caller) => atWork.get(caller) ?? 0,
    );
  }

  /** Returns the error that says so, for each caller of these runs who has used the quota up. */
  usedUp(runs: readonly PruningRunState[]): Map<string, EspalierError> {
    const found = new Map<string, EspalierError>();
    if (this.quotas === null) return found;
    if (performance.now() - this.known.atMs >= QUOTAS_VALID_MS) this.known = { atMs: performance.now(), byCaller: new Map() };
    const { byCaller } = this.known;
    for (const caller of new Set(runs.map(callerOf))) {
      if (!byCaller.has(caller)) byCaller.set(caller, this.problemOf(caller));
      const problem = byCaller.get(caller) ?? null;
      if (problem !== null) found.set(caller, problem);
    }
    return found;
  }

  private problemOf(caller: string): EspalierError | null {
    const quota = this.quotaOf(caller);
    if (quota === null || quota.usedSeconds < quota.hours * 3_600) return null;
    return hoursUsed(caller, quota.usedSeconds, quota.hours, quota.days);
  }

  /** The caller's quota and what is used of it, or null where the caller has none. */
  quotaOf(caller: string): { hours: number; days: number; usedSeconds: number } | null {
    const quota = this.quotas?.current;
    const hours = quota === undefined ? null : hoursOf(quota, caller);
    if (quota === undefined || hours === null) return null;
    const now = Date.now();
    return { hours, days: quota.days, usedSeconds: this.ledger.secondsSince(caller, now - quota.days * DAY_MS, now) };
  }
}
