// The views of runs: opens their read models and answers from them.
import { join } from 'node:path';
import { readPastDamage, type EventCorruptError, type EventStore, type Position } from '#event-store';
import { VIEWS_FILE } from '#files';
import { engineSettings, EspalierError, type v1 } from '#protocol';
import { Views, type ViewsOptions } from '../event-sourcing/read-models/views.js';
import { prepared } from '../event-sourcing/read-models/prepared-statements.js';
import { readPosition } from '../event-sourcing/read-models/views-file.js';
import { runDamaged, runNotFound } from '../pruning-run/aggregate/pruning-run.errors.js';
import type { PruningRunState } from '../pruning-run/aggregate/pruning-run.js';
import type { RunSettings } from '../pruning-run/record/pruning-run.events.js';
import { runStream } from '../pruning-run/record/stored-event.js';
import { discardOf, isOfExport, type DiscardRow } from './projection/needed-artifacts.js';
import type { RunDetail, RunSummary } from './projection/run-detail.js';
import { RunProjection } from './projection/run-projection.js';
import { viewsSchema } from './projection/views-schema.js';
import type { LiveSteps } from '../live/live-steps.js';
import { othersNamed, requireOwnName, resolveRunId } from './run-ids.js';
import { groupRuns } from './run-groups.js';
import { listFigures } from './list-figures.js';
import { countByStatus, filteredRuns, listRuns, longestQueuedMs, type RunFilter } from './run-list.js';
import { runMessage } from './run-message.js';
import { leaseUntilMs } from './run-status.js';
import { Summaries } from './summaries.js';

/**
 * A text that is equal for runs whose steps take the same time on the same model. The time depends on the recipe and on the settings of the
 * engine's session.
 */
const speedKey = (settings: RunSettings): string =>
  JSON.stringify([settings.recipe, ...engineSettings('session').map(({ name }) => settings[name])]);
const RUNS_LOOKED_AT = 50;

/** An attempt and its time. `endedMs` is null while it is under way. */
export interface AttemptRow {
  runId: string;
  attempt: number;
  caller: string;
  startedMs: number;
  endedMs: number | null;
}

export interface RunViewsOptions {
  store: EventStore;
  folder: string;
  live: LiveSteps;
  now?: () => number;
  onError?: (error: unknown) => void;
  onDamage?: (error: EventCorruptError) => void;
  onReadAgain?: ViewsOptions['onReadAgain'];
}

export class RunViews extends Views {
  readonly live: LiveSteps;
  readonly now: () => number;
  private readonly summaries = new Summaries();
  private stopReports: () => void = () => undefined;

  constructor({ store, folder, live, now, onError, onDamage, onReadAgain }: RunViewsOptions) {
    const projection = (database: Views['database']): RunProjection => new RunProjection(database);
    super({ store, file: join(folder, VIEWS_FILE), schema: viewsSchema, projection, onError, onDamage, onReadAgain });
    this.live = live;
    this.now = now ?? Date.now;
  }

  override start(): void {
    super.start();
    this.stopReports = this.live.onReport((runId) => (runId === '' ? this.changes.notifyAll() : this.changes.notify([runId])));
  }

  override async stop(): Promise<void> {
    this.stopReports();
    await super.stop();
  }

  protected override revisionOf(runId: string): number | null {
    return prepared<{ revision: number }>(this.database, 'SELECT revision FROM runs WHERE run_id = ?').get(runId)?.revision ?? null;
  }

  isDamaged(runId: string): boolean {
    return prepared(this.database, "SELECT 1 FROM runs WHERE run_id = ? AND status = 'damaged'").get(runId) !== undefined;
  }

  /** Tells whether any run is damaged, so that it is not known what its lost events named. */
  hasDamage(): boolean {
    return prepared(this.database, "SELECT 1 FROM runs WHERE status = 'damaged' LIMIT 1").get() !== undefined;
  }

  /**
   * Returns the id of a run with a whole record. @throws EspalierError RUN_DAMAGED, since nothing can be decided on the rest of a damaged
   * record
   */
  async wholeRunId(text: string, field = 'run_id'): Promise<string> {
    const runId = await this.runId(text, field);
    if (this.isDamaged(runId))
      throw runDamaged(
        runId,
        this.summaryOf(runId)
          .extras.damage.filter(({ metrics }) => !metrics)
          .map(({ problem }) => problem),
      );
    return runId;
  }

  /**
   * Returns the id of a run, which may be cut short while only one run has the beginning. Waits for a run that the store has and the views
   * don't show yet.
   */
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

  othersNamed(name: string, runId: string): string[] {
    return othersNamed(this.database, name, runId);
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
      live.queuedFor(run.runId),
    );
  }

  async summary(runId: string, options: { atRevision?: number | bigint } = {}): Promise<RunSummary> {
    const id = await this.runId(runId);
    if (options.atRevision !== undefined) await this.reach(id, Number(options.atRevision));
    return this.summaryOf(id);
  }

  /** The run as it is known now. @throws EspalierError RUN_NOT_FOUND */
  summaryOf(runId: string): RunSummary {
    const summary = this.peek(runId);
    if (summary === null) throw runNotFound(runId);
    return summary;
  }

  /** The run as it is known now, or null for an unknown run. Callers share the object. */
  peek(runId: string): RunSummary | null {
    return this.summaries.of(this.database, runId);
  }

  detail(runId: string): RunDetail | null {
    const row = prepared<{ detail: string }>(this.database, 'SELECT detail FROM run_details WHERE run_id = ?').get(runId);
    return row === undefined ? null : (JSON.parse(row.detail) as RunDetail);
  }

  damagedRuns(): string[] {
    return this.database.prepare<[], string>("SELECT run_id FROM runs WHERE status = 'damaged'").pluck().all();
  }

  /**
   * The runs that have not ended, as of the events up to a position. A reader that goes on from there misses nothing. It waits for the
   * views, so that a long history that the views don't show yet is not read and folded a second time beside them.
   */
  async unfinished(): Promise<{ position: Position | null; runs: PruningRunState[] }> {
    await this.settled();
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

  /** The ids of the runs that this caller has launched and that have not ended. */
  async unfinishedOf(actor: string): Promise<string[]> {
    await this.ready();
    return (await this.unfinished()).runs.filter(({ launchedBy }) => launchedBy === actor).map(({ runId }) => runId);
  }

  /** The attempts of all runs that had an engine between two times, those of deleted runs too. */
  attempts(fromMs: number, untilMs: number): AttemptRow[] {
    return prepared<AttemptRow>(
      this.database,
      `SELECT run_id AS runId, attempt, caller, started_at_ms AS startedMs, ended_at_ms AS endedMs FROM attempts
       WHERE (ended_at_ms > ? OR ended_at_ms IS NULL) AND started_at_ms < ?`,
    ).all(fromMs, untilMs);
  }

  /** The last run that trained this model by this recipe in batches like these, and its speed. Null where no run has. */
  lastSpeed(modelPath: string, settings: RunSettings): { runId: string; tokensPerSecond: number } | null {
    const summaries = this.database
      .prepare<[string], string>(
        `SELECT summary FROM run_details JOIN runs USING (run_id)
         WHERE model_path = ? AND status <> 'deleted' ORDER BY updated_at_ms DESC LIMIT ${RUNS_LOOKED_AT}`,
      )
      .pluck()
      .iterate(modelPath);
    const wanted = speedKey(settings);
    for (const text of summaries) {
      const { run, extras } = JSON.parse(text) as RunSummary;
      const seconds = extras.recent.reduce((sum, segment) => sum + segment.seconds, 0);
      if (seconds === 0 || speedKey(run.settings) !== wanted) continue;
      return { runId: run.runId, tokensPerSecond: extras.recent.reduce((sum, { tokens }) => sum + tokens, 0) / seconds };
    }
    return null;
  }

  /** The last event of any run by which the artifact was removed. */
  isOfExport(digest: string): boolean {
    return isOfExport(this.database, digest);
  }

  discardOf(digest: string): DiscardRow | null {
    return discardOf(this.database, digest);
  }

  async listRuns(request: v1.ListRunsRequest): Promise<v1.ListRunsResponse> {
    await this.ready();
    const parentRunId = request.parentRunId === '' ? '' : await this.runId(request.parentRunId, 'parent_run_id');
    const page = listRuns(this.database, { ...request, parentRunId }, this.heardInTime(), this.now());
    return { runs: page.runs.map((summary) => this.message(summary)), nextPageToken: page.nextPageToken, total: page.total };
  }

  /** Every status with its number of runs, as clients see them. */
  async countByStatus(): Promise<Record<string, number>> {
    await this.ready();
    return countByStatus(this.database, this.heardInTime(), this.now());
  }

  /** The time since the last event of the queued run that waits longest; 0 while no run is queued. */
  async longestQueuedMs(): Promise<number> {
    await this.ready();
    return longestQueuedMs(this.database, this.heardInTime(), this.now());
  }

  async groupRuns({ by, figures, ...filter }: v1.GroupRunsRequest): Promise<v1.GroupRunsResponse> {
    return groupRuns(by, figures, await this.matching(filter));
  }

  async listFigures({ figures, runIds, at: _, ...filter }: v1.ListFiguresRequest): Promise<v1.ListFiguresResponse> {
    return listFigures(figures, runIds, await this.matching(filter));
  }

  /** All runs that pass the filters, which are read one after another while the result is gone through. */
  async matching(filter: RunFilter): Promise<Iterable<RunSummary>> {
    await this.ready();
    const parentRunId = filter.parentRunId === '' ? '' : await this.runId(filter.parentRunId, 'parent_run_id');
    return filteredRuns(this.database, { ...filter, parentRunId }, this.heardInTime(), this.now());
  }

  /** The runs whose engine gave a sign of life within its lease, whatever the time of their last event. */
  private heardInTime(): string[] {
    return this.live.heardRuns().filter((runId) => {
      const summary = this.peek(runId);
      return summary !== null && (leaseUntilMs(summary.run, this.live.heardAt(runId)) ?? 0) >= this.now();
    });
  }

  private async knownToStore(runId: string): Promise<boolean> {
    if (!/^[a-z2-7]{12}$/.test(runId)) return false;
    for await (const _ of readPastDamage(this.store, runStream(runId), { maxCount: 1 })) return true;
    return false;
  }
}
