// Rows that tell which artifacts each run needs, to show what fills the disk, and which artifacts were removed by which event. The rows are
// a cache, so no deletion is decided by them (see feed/recorded-needs.ts).
import { neededArtifacts, needsTheSame, type PruningRunState } from '../../pruning-run/aggregate/pruning-run.js';
import type { DiscardedArtifact } from '../../pruning-run/record/pruning-run.events.js';
import type { RunDetail } from './run-detail.js';
import type { ViewsDatabase } from '../../event-sourcing/read-models/views-file.js';

function neededBy(database: ViewsDatabase, runId: string): string[] {
  return database.prepare<[string], string>('SELECT digest FROM needed_artifacts WHERE run_id = ?').pluck().all(runId);
}

export interface NeededRow {
  runId: string;
  digest: string;
  kind: DiscardedArtifact['kind'];
}

export function allNeeded(database: ViewsDatabase): NeededRow[] {
  return database.prepare<[], NeededRow>('SELECT run_id AS runId, digest, kind FROM needed_artifacts').all();
}

/** Tells whether an artifact is an export or one of its files. */
export function isOfExport(database: ViewsDatabase, digest: string): boolean {
  return database.prepare("SELECT 1 FROM needed_artifacts WHERE digest = ? AND kind = 'export' LIMIT 1").get(digest) !== undefined;
}

export interface DiscardRow {
  runId: string;
  revision: number;
  kind: DiscardedArtifact['kind'];
  digest: string;
  reason: string;
}

export function discardOf(database: ViewsDatabase, digest: string): DiscardRow | null {
  const row = database
    .prepare(
      'SELECT run_id AS runId, revision, kind, digest, reason FROM discarded_artifacts WHERE digest = ? ORDER BY revision DESC LIMIT 1',
    )
    .get(digest);
  return (row as DiscardRow | undefined) ?? null;
}

export class NeededArtifacts {
  private readonly add;
  private readonly remove;
  /** The digests as they stand in the rows. */
  private readonly saved = new WeakMap<RunDetail, { run: PruningRunState; digests: ReadonlyMap<string, unknown> | ReadonlySet<string> }>();

  constructor(private readonly database: ViewsDatabase) {
    this.add = database.prepare('INSERT OR IGNORE INTO needed_artifacts_rows VALUES (?, ?, ?)');
    this.remove = database.prepare('DELETE FROM needed_artifacts_rows WHERE run_id = ? AND digest = ?');
  }

  save(detail: RunDetail): void {
    const { run } = detail;
    const before = this.saved.get(detail);
    if (before !== undefined && needsTheSame(before.run, run)) return;
    const digests = neededArtifacts(run);
    const known = before?.digests ?? new Set(neededBy(this.database, run.runId));
    for (const [digest, kind] of digests) if (!known.has(digest)) this.add.run(run.runId, digest, kind);
    for (const digest of known.keys()) if (!digests.has(digest)) this.remove.run(run.runId, digest);
    this.saved.set(detail, { run, digests });
  }
}
