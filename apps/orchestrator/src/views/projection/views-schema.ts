// The tables of runs in the file of views.
import { sha256Hex } from '#audit';
import { openViewsFile, type ViewsDatabase, type ViewsSchema } from '../../event-sourcing/read-models/views-file.js';
import type { ViewsTable } from '../../event-sourcing/read-models/views-tables.js';
import { METRIC_COLUMNS } from './metrics-codec.js';

const TABLES: readonly ViewsTable[] = [
  {
    name: 'runs',
    columns: [
      'run_id TEXT PRIMARY KEY',
      'name TEXT NOT NULL',
      'status TEXT NOT NULL',
      'paused_by TEXT',
      'model_path TEXT NOT NULL',
      'parent_run_id TEXT',
      'forked_at_step INTEGER NOT NULL',
      'launched_at_ms INTEGER NOT NULL',
      'updated_at_ms INTEGER NOT NULL',
      'lease_until_ms INTEGER',
      'perplexity REAL NOT NULL',
      'sparsity REAL NOT NULL',
      'target_sparsity REAL NOT NULL',
      'revision INTEGER NOT NULL',
      'tags TEXT NOT NULL',
    ],
    withoutRowid: true,
    indexes: [
      'CREATE INDEX runs_by_launch ON runs_rows (launched_at_ms, run_id)',
      'CREATE INDEX runs_by_update ON runs_rows (updated_at_ms, run_id)',
      'CREATE INDEX runs_by_name ON runs_rows (name, run_id)',
      'CREATE INDEX runs_by_perplexity ON runs_rows (perplexity, run_id)',
      'CREATE INDEX runs_by_sparsity ON runs_rows (sparsity, run_id)',
      'CREATE INDEX runs_by_parent ON runs_rows (parent_run_id) WHERE parent_run_id IS NOT NULL',
      'CREATE INDEX runs_by_status ON runs_rows (status)',
    ],
  },
  {
    name: 'run_details',
    columns: ['run_id TEXT PRIMARY KEY', 'detail TEXT NOT NULL', 'summary TEXT NOT NULL'],
  },
  {
    name: 'teachers',
    columns: [
      'run_id TEXT NOT NULL',
      'revision INTEGER NOT NULL',
      'mark INTEGER NOT NULL',
      'step INTEGER NOT NULL',
      'owner_run_id TEXT NOT NULL',
      'expected_sparsity REAL NOT NULL',
      'hard_sparsity REAL NOT NULL',
      'state_digest TEXT NOT NULL',
      'bytes INTEGER NOT NULL',
      'at TEXT NOT NULL',
      'abandoned INTEGER NOT NULL',
      'inherited INTEGER NOT NULL',
      'discarded INTEGER NOT NULL',
      'sized TEXT NOT NULL',
    ],
    constraints: 'PRIMARY KEY (run_id, step, mark, revision)',
    withoutRowid: true,
  },
  {
    name: 'segments',
    columns: [
      'run_id TEXT NOT NULL',
      'revision INTEGER NOT NULL',
      'branch INTEGER NOT NULL',
      'first_step INTEGER NOT NULL',
      'end_step INTEGER NOT NULL',
      'metrics_revision INTEGER NOT NULL',
      'hard_sparsity REAL NOT NULL',
      'parameters INTEGER NOT NULL',
      'recorded_at_ms INTEGER NOT NULL',
    ],
    constraints: 'PRIMARY KEY (run_id, revision)',
    withoutRowid: true,
  },
  {
    name: 'attempts',
    columns: [
      'run_id TEXT NOT NULL',
      'attempt INTEGER NOT NULL',
      'caller TEXT NOT NULL',
      'started_at_ms INTEGER NOT NULL',
      'ended_at_ms INTEGER', // null while the attempt is under way
    ],
    constraints: 'PRIMARY KEY (run_id, attempt)',
    withoutRowid: true,
    indexes: ['CREATE INDEX attempts_by_end ON attempts_rows (ended_at_ms)'],
  },
  {
    name: 'metrics',
    columns: [
      'run_id TEXT NOT NULL',
      'revision INTEGER NOT NULL',
      'attempt INTEGER NOT NULL',
      'branch INTEGER NOT NULL',
      'rows BLOB NOT NULL',
    ],
    constraints: 'PRIMARY KEY (run_id, revision)',
  },
  {
    name: 'mask_changes',
    columns: ['run_id TEXT NOT NULL', 'revision INTEGER NOT NULL', 'closed_before TEXT', 'changed TEXT NOT NULL'],
    constraints: 'PRIMARY KEY (run_id, revision)',
  },
  {
    name: 'needed_artifacts',
    columns: ['run_id TEXT NOT NULL', 'digest TEXT NOT NULL', 'kind TEXT NOT NULL'],
    constraints: 'PRIMARY KEY (run_id, digest)',
    withoutRowid: true,
    indexes: ['CREATE INDEX needed_by_digest ON needed_artifacts_rows (digest)'],
  },
  {
    name: 'discarded_artifacts',
    columns: ['digest TEXT NOT NULL', 'run_id TEXT NOT NULL', 'revision INTEGER NOT NULL', 'kind TEXT NOT NULL', 'reason TEXT NOT NULL'],
    constraints: 'PRIMARY KEY (digest, run_id, revision)',
    withoutRowid: true,
  },
];

/** Raised by a change of a fold, which stores other values in the same columns. */
const FOLDS = 3;

/** Follows from the tables, the figures of a step and the folds. Views of another version are made again from the events. */
export const viewsVersion = (figures: readonly string[]): number =>
  parseInt(sha256Hex(JSON.stringify([FOLDS, TABLES, figures])).slice(0, 12), 16);

export const viewsSchema: ViewsSchema = { version: viewsVersion(METRIC_COLUMNS), tables: TABLES };

/** The perplexity of runs without an evaluation, which sorts behind all others. */
export const NO_PERPLEXITY = 1e308;

export const openViewsDatabase = (file: string): ViewsDatabase => openViewsFile(file, viewsSchema);
