// Reads the summaries of runs, and keeps the last ones while no row changes: watchers of a run ask for its summary several times for each
// message, and a row is checked against its sum whenever it is read.
import { prepared } from '../event-sourcing/read-models/prepared-statements.js';
import type { ViewsDatabase } from '../event-sourcing/read-models/views-file.js';
import type { RunSummary } from './projection/run-detail.js';

const MOST_KEPT = 64;

export class Summaries {
  private kept = new Map<string, RunSummary | null>();
  private keptOf: { database: ViewsDatabase; changes: number } | null = null;

  /** Returns the summary as the database has it now, or null for an unknown run. */
  of(database: ViewsDatabase, runId: string): RunSummary | null {
    // Only this connection writes to the file, so its count of changed rows tells whether any row is another one now.
    const { changes } = prepared<{ changes: number }>(database, 'SELECT total_changes() AS changes').get()!;
    const isUnchanged = this.keptOf?.database === database && this.keptOf.changes === changes;
    if (!isUnchanged || this.kept.size === MOST_KEPT) this.kept = new Map();
    this.keptOf = { database, changes };
    const known = this.kept.get(runId);
    if (known !== undefined) return known;
    const row = prepared<{ summary: string }>(database, 'SELECT summary FROM run_details WHERE run_id = ?').get(runId);
    const summary = row === undefined ? null : (JSON.parse(row.summary) as RunSummary);
    this.kept.set(runId, summary);
    return summary;
  }
}
