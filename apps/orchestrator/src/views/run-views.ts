// The read side of the orchestrator: opens the read models, keeps them up with the event store, answers from them.
import { join } from 'node:path';
import { renameSync } from 'node:fs';
import { readPastDamage, type EventCorruptError, type EventStore, type Position } from '#event-store';
import { EspalierError, v1 } from '#protocol';
import { runDamaged, runNotFound } from '../pruning-run/aggregate/pruning-run.errors.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import { runStream } from '../pruning-run/record/stored-event.js';
import { discardOf, neededBy, runsNeeding, type DiscardRow } from './projection/needed-artifacts.js';
import { requireOwnName, resolveRunId } from './run-ids.js';
import type { LiveSteps } from './live-steps.js';
import { ProjectionRunner } from './projection/projection-runner.js';
import type { RunDetail, RunSummary } from './projection/run-detail.js';
import { listRuns } from './run-list.js';
import { runMessage } from './run-message.js';
import { leaseUntilMs } from './run-status.js';
import { ViewChanges } from './projection/view-changes.js';
import { isOfStore, openViewsDatabase, readPosition, removeDatabase, type ViewsDatabase } from './projection/views-database.js';

/** How long a query waits for the views to know what the store knows. */
const PATIENCE_MS = 5000;
const RETRY_MS = 1000;

export interface RunViewsOptions {
  store: EventStore;
  folder: string;
  live: LiveSteps;
  now?: () => number;
  onError?: (error: unknown) => void;
  onDamage?: (error: EventCorruptError) => void;
}

export class RunViews {
  readonly changes = new ViewChanges();
  readonly live: LiveSteps;
  readonly now: () => number;
  private readonly store: EventStore;
  private readonly file: string;
  private readonly onError: (error: unknown) => void;
  private readonly onDamage: (error: EventCorruptError) => void;
  private current: ViewsDatabase;
  private runner: ProjectionRunner;
  private rebuilding = false;
  private stopReports: () => void = () => undefined;
  private started: Promise<void> = Promise.resolve();
  private stopped = false;

  constructor({ store, folder, live, now, onError, onDamage }: RunViewsOptions) {
    this.store = store;
    this.live = live;
    this.now = now ?? Date.now;
    this.onError = onError ?? (() => undefined);
    this.onDamage = onDamage ?? (() => undefined);
    this.file = join(folder, 'views.sqlite');
    this.current = openViewsDatabase(this.file);
    this.runner = this.runnerFor(this.current);
  }

  start(): void {
    this.started = this.begin();
    this.stopReports = this.live.onReport((runId) => (runId === '' ? this.changes.notifyAll() : this.changes.notify([runId])));
  }

  private async begin(): Promise<void> {
    while (!this.stopped) {
      try {
        if (!(await isOfStore(this.current, this.store))) this.startAnew();
        break;
      } catch (error) {
        this.onError(error);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    if (!this.stopped) this.runner.start();
  }

  /** The store was put back to an earlier time, or is another one. */
  private startAnew(): void {
    this.current.close();
    removeDatabase(this.file);
    this.current = openViewsDatabase(this.file);
    this.runner = this.runnerFor(this.current);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.stopReports();
    await this.started;
    await this.runner.stop();
    this.changes.notifyAll();
    this.current.close();
  }

  get database(): ViewsDatabase {
    return this.current;
  }

  private runnerFor(database: ViewsDatabase, failed = this.onError): ProjectionRunner {
    return new ProjectionRunner(this.store, database, { changed: (runIds) => this.changes.notify(runIds), failed, damaged: this.onDamage });
  }

  /** Marks an event as damaged that could not be read now, though the views have its content. */
  noteDamage(error: EventCorruptError): void {
    try {
      this.runner.note(error);
    } catch (failure) {
      this.onError(failure); // told again when its event is met again
    }
  }

  isDamaged(runId: string): boolean {
    return this.database.prepare("SELECT 1 FROM runs WHERE run_id = ? AND status = 'damaged'").get(runId) !== undefined;
  }

  /** Whether any run is: what its lost events named is not known. */
  hasDamage(): boolean {
    return this.database.prepare("SELECT 1 FROM runs WHERE status = 'damaged' LIMIT 1").get() !== undefined;
  }

  /** The run's id. @throws EspalierError RUN_DAMAGED: what is left of its record is no ground to decide on */
  async wholeRunId(text: string, field = 'run_id'): Promise<string> {
    const runId = await this.runId(text, field);
    if (this.isDamaged(runId))
      throw runDamaged(
        runId,
        this.peek(runId)!
          .extras.damage.filter(({ metrics }) => !metrics)
          .map(({ problem }) => problem),
      );
    return runId;
  }

  /** Run ids may be cut to an unambiguous beginning. Waits for a run that the store has and the views don't show yet. */
  async runId(text: string, field = 'run_id'): Promise<string> {
    await this.ready();
    try {
      return resolveRunId(this.database, text, field);
    } catch (error) {
      if (!(error instanceof EspalierError) || error.code !== 'RUN_NOT_FOUND' || !(await this.knownToStore(text))) throw error;
      await this.reach(text, 0);
      return text;
    }
  }

  /** @throws EspalierError RUN_NAME_INVALID */
  requireOwnName(name: string): void {
    requireOwnName(this.database, name);
  }

  async getRun(runId: string, options: { atRevision?: number | bigint } = {}): Promise<v1.Run> {
    return this.message(await this.summary(runId, options));
  }

  message(summary: RunSummary): v1.Run {
    const { run } = summary;
    const { live } = this;
    return runMessage(
      summary,
      live.heardAt(run.runId),
      this.now(),
      live.since(run.runId, run.current?.step ?? 0),
      live.waitOf(run.runId),
      live.preparationOf(run.runId),
    );
  }

  async summary(runId: string, options: { atRevision?: number | bigint } = {}): Promise<RunSummary> {
    const id = await this.runId(runId);
    if (options.atRevision !== undefined) await this.reach(id, Number(options.atRevision));
    const summary = this.peek(id);
    if (summary === null) throw runNotFound(id);
    return summary;
  }

  /** The run as it is known now; null for an unknown run. */
  peek(runId: string): RunSummary | null {
    const row = this.database.prepare('SELECT summary FROM run_details WHERE run_id = ?').get(runId) as { summary: string } | undefined;
    return row === undefined ? null : (JSON.parse(row.summary) as RunSummary);
  }

  detail(runId: string): RunDetail | null {
    const row = this.database.prepare('SELECT detail FROM run_details WHERE run_id = ?').get(runId) as { detail: string } | undefined;
    return row === undefined ? null : (JSON.parse(row.detail) as RunDetail);
  }

  /** The runs that have not ended, after the events up to a position; whoever goes on from there misses nothing. */
  async unfinished(): Promise<{ position: Position | null; runs: PruningRunState[] }> {
    await this.started;
    const details = this.database
      .prepare<[], string>(
        `
      SELECT detail FROM run_details JOIN runs USING (run_id)
      WHERE status NOT IN ('completed', 'failed', 'cancelled', 'deleted', 'damaged')`,
      )
      .pluck()
      .all();
    return { position: readPosition(this.database).position, runs: details.map((detail) => (JSON.parse(detail) as RunDetail).run) };
  }

  /** What is known of the artifacts that runs need; a run that changes at this moment may need others. */
  neededBy(runId: string): string[] {
    return neededBy(this.database, runId);
  }

  runsNeeding(digest: string): string[] {
    return runsNeeding(this.database, digest);
  }

  /** The last event of any run that says that the artifact was thrown away. */
  discardOf(digest: string): DiscardRow | null {
    return discardOf(this.database, digest);
  }

  async listRuns(request: v1.ListRunsRequest): Promise<v1.ListRunsResponse> {
    await this.ready();
    const parentRunId = request.parentRunId === '' ? '' : await this.runId(request.parentRunId, 'parent_run_id');
    const page = listRuns(this.database, { ...request, parentRunId }, this.heardInTime(), this.now());
    return { runs: page.runs.map((summary) => this.message(summary)), nextPageToken: page.nextPageToken, total: page.total };
  }

  /** Runs whose engine was heard of within its lease, whatever the time of their last event. */
  private heardInTime(): string[] {
    return this.live.heardRuns().filter((runId) => {
      const summary = this.peek(runId);
      return summary !== null && (leaseUntilMs(summary.run, this.live.heardAt(runId)) ?? 0) >= this.now();
    });
  }

  /** @throws VIEW_LAGGING when the views don't get there in time */
  async reach(runId: string, revision: number): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const change = this.changes.next(runId, Math.max(1, deadline - Date.now()));
      const row = this.database.prepare('SELECT revision FROM runs WHERE run_id = ?').get(runId) as { revision: number } | undefined;
      if (row !== undefined && row.revision >= revision) return;
      if (Date.now() >= deadline) throw lagging(`run ${runId} at revision ${revision}`, this.runner.lastFailure);
      await change;
    }
  }

  /** The views never answer from a half-read history. */
  async ready(): Promise<void> {
    await Promise.race([this.started, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS).unref())]);
    if (!(await this.runner.whenCaughtUp(PATIENCE_MS))) throw lagging(`${this.runner.eventsDone} events are in`, this.runner.lastFailure);
  }

  private async knownToStore(runId: string): Promise<boolean> {
    if (!/^[a-z2-7]{12}$/.test(runId)) return false;
    for await (const _ of readPastDamage(this.store, runStream(runId), { maxCount: 1 })) return true;
    return false;
  }

  /** Builds the read models anew beside the old ones, which answer until the new ones have caught up. */
  async *rebuild(signal: AbortSignal): AsyncGenerator<v1.RebuildViewsResponse> {
    if (this.rebuilding) throw new EspalierError('CONFLICTING_CHANGES', 'the views are being rebuilt already');
    this.rebuilding = true;
    const file = `${this.file}.rebuild`;
    removeDatabase(file);
    const database = openViewsDatabase(file);
    const failures: unknown[] = [];
    const runner = this.runnerFor(database, (error) => failures.push(error));
    let swapped = false;
    try {
      runner.start();
      while (!(await runner.whenCaughtUp(200))) {
        if (signal.aborted) return;
        if (failures.length > 0) throw failures[0];
        yield { eventsDone: BigInt(runner.eventsDone), done: false };
      }
      await this.swap(runner, database, file);
      swapped = true;
      yield { eventsDone: BigInt(this.runner.eventsDone), done: true };
    } finally {
      this.rebuilding = false;
      if (!swapped) {
        await runner.stop();
        database.close();
        removeDatabase(file);
      }
    }
  }

  /** Synchronous from closing to reopening, so that no query ever meets a closed database. */
  private async swap(runner: ProjectionRunner, database: ViewsDatabase, file: string): Promise<void> {
    await runner.stop();
    await this.runner.stop();
    database.pragma('wal_checkpoint(TRUNCATE)');
    database.close();
    this.current.close();
    removeDatabase(this.file);
    renameSync(file, this.file);
    this.current = openViewsDatabase(this.file);
    this.runner = this.runnerFor(this.current);
    this.runner.caughtUp = true;
    this.runner.start();
    this.changes.notifyAll();
  }
}

function lagging(what: string, failure: unknown): EspalierError {
  const why = failure === null ? '' : `; they can't be written: ${(failure as Error).message}`;
  return new EspalierError('VIEW_LAGGING', `the views are still catching up with the event store (${what}${why}); try again in a moment`);
}
