// The tables of runs in the views' file.
import { openViewsFile, type ViewsDatabase, type ViewsSchema } from '../../event-sourcing/views-file.js';

const TABLES = `
  CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, paused_by TEXT, model_path TEXT NOT NULL, parent_run_id TEXT,
    forked_at_step INTEGER NOT NULL, launched_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL,
    lease_until_ms INTEGER, perplexity REAL NOT NULL, hard_sparsity REAL NOT NULL, target_sparsity REAL NOT NULL,
    revision INTEGER NOT NULL, tags TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX runs_by_launch ON runs (launched_at_ms, run_id);
  CREATE INDEX runs_by_update ON runs (updated_at_ms, run_id);
  CREATE INDEX runs_by_name ON runs (name, run_id);
  CREATE INDEX runs_by_perplexity ON runs (perplexity, run_id);
  CREATE INDEX runs_by_sparsity ON runs (hard_sparsity, run_id);
  CREATE INDEX runs_by_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
  CREATE INDEX runs_by_status ON runs (status);
  CREATE TABLE run_details (run_id TEXT PRIMARY KEY, detail TEXT NOT NULL, summary TEXT NOT NULL) STRICT;
  CREATE TABLE teachers (
    run_id TEXT NOT NULL, revision INTEGER NOT NULL, mark INTEGER NOT NULL, step INTEGER NOT NULL, owner_run_id TEXT NOT NULL,
    expected_sparsity REAL NOT NULL, hard_sparsity REAL NOT NULL, state_digest TEXT NOT NULL, bytes INTEGER NOT NULL,
    at TEXT NOT NULL, abandoned INTEGER NOT NULL, inherited INTEGER NOT NULL, discarded INTEGER NOT NULL, sized TEXT NOT NULL,
    PRIMARY KEY (run_id, step, mark, revision)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE segments (
    run_id TEXT NOT NULL, revision INTEGER NOT NULL, branch INTEGER NOT NULL, first_step INTEGER NOT NULL,
    end_step INTEGER NOT NULL, metrics_revision INTEGER NOT NULL, hard_sparsity REAL NOT NULL,
    PRIMARY KEY (run_id, revision)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE metrics (
    run_id TEXT NOT NULL, revision INTEGER NOT NULL, attempt INTEGER NOT NULL, branch INTEGER NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (run_id, revision)
  ) STRICT;
  CREATE TABLE mask_changes (
    run_id TEXT NOT NULL, revision INTEGER NOT NULL, closed_before TEXT, changed TEXT NOT NULL, PRIMARY KEY (run_id, revision)
  ) STRICT;
  CREATE TABLE needed_artifacts (run_id TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (run_id, digest))
    STRICT, WITHOUT ROWID;
  CREATE INDEX needed_by_digest ON needed_artifacts (digest);
  CREATE TABLE discarded_artifacts (
    digest TEXT NOT NULL, run_id TEXT NOT NULL, revision INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (digest, run_id, revision)
  ) STRICT, WITHOUT ROWID;
`;

export const viewsSchema: ViewsSchema = { version: 14, tables: TABLES };

/** A run without an evaluation sorts behind all that have one. */
export const NO_PERPLEXITY = 1e308;

export const openViewsDatabase = (file: string): ViewsDatabase => openViewsFile(file, viewsSchema);
