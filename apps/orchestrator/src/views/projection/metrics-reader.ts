// Reads recorded steps from the read models.
import type { StepMeasurement } from '../../pruning-run/record/steps-measured.js';
import { isActiveStep, type Rewind } from './run-detail.js';
import { decodeRows, ROW_DOUBLES, rowCount, stepAt } from './metrics-codec.js';
import { prepared } from '../../event-sourcing/read-models/prepared-statements.js';
import type { ViewsDatabase } from '../../event-sourcing/read-models/views-file.js';

export interface StepRange {
  fromStep?: number | undefined;
  /** The last step of the range. */
  toStep?: number | undefined;
  includeAbandoned?: boolean;
}

/** The rows of one segment, with the branch on which they were measured. */
export interface SegmentRows {
  revision: number;
  branch: number;
  attempt: number;
  firstStep: number;
  endStep: number;
  /** The hard sparsity of the state at the segment's end. */
  hardSparsity: number;
  /** The parameters that are left in that state. */
  parameters: number;
  recordedAtMs: number;
  rows: Float64Array;
}

type SegmentRecord = Omit<SegmentRows, 'rows'> & { blob: Uint8Array | null };
const SEGMENT_COLUMNS = `s.revision, s.branch, s.first_step AS firstStep, s.end_step AS endStep, s.hard_sparsity AS hardSparsity,
  s.parameters, s.recorded_at_ms AS recordedAtMs, coalesce(m.attempt, 0) AS attempt, m.rows AS blob
  FROM segments AS s LEFT JOIN metrics AS m ON m.run_id = s.run_id AND m.revision = s.metrics_revision`;

/** Yields segments one at a time, in the order in which they were recorded. */
export function* readSegments(database: ViewsDatabase, runId: string, range: StepRange = {}): Iterable<SegmentRows> {
  const from = range.fromStep ?? 0;
  const to = range.toStep ?? Number.MAX_SAFE_INTEGER;
  const query = database.prepare(
    `SELECT ${SEGMENT_COLUMNS} WHERE s.run_id = ? AND s.revision > ? AND s.end_step > ? AND s.first_step <= ? ORDER BY s.revision LIMIT 64`,
  );
  for (let after = -1; ;) {
    const records = query.all(runId, after, from, to) as SegmentRecord[];
    for (const record of records) yield decoded(record);
    if (records.length < 64) return;
    after = records.at(-1)!.revision;
  }
}

/** The next segments recorded after a revision, for readers that come back for more. */
export function segmentsAfter(database: ViewsDatabase, runId: string, revision: number, limit: number): SegmentRows[] {
  const text = `SELECT ${SEGMENT_COLUMNS} WHERE s.run_id = ? AND s.revision > ? ORDER BY s.revision LIMIT ?`;
  return prepared<SegmentRecord>(database, text).all(runId, revision, limit).map(decoded);
}

function decoded({ blob, ...segment }: SegmentRecord): SegmentRows {
  return { ...segment, rows: blob === null ? new Float64Array() : decodeRows(blob) };
}

/** The number of steps done at a revision and their branch, or null before the first segment. */
export function progressAt(
  database: ViewsDatabase,
  runId: string,
  revision: number,
): { step: number; branch: number; revision: number } | null {
  const text = 'SELECT end_step AS step, branch, revision FROM segments WHERE run_id = ? AND revision <= ? ORDER BY revision DESC LIMIT 1';
  return prepared<{ step: number; branch: number; revision: number }>(database, text).get(runId, revision) ?? null;
}

/** The rows of all steps in the range, in one block. Abandoned steps are included only if the range asks for them. */
export function readRows(database: ViewsDatabase, runId: string, rewinds: readonly Rewind[], range: StepRange): Float64Array {
  const blocks: Float64Array[] = [];
  const from = range.fromStep ?? 0;
  const to = range.toStep ?? Number.MAX_SAFE_INTEGER;
  for (const { branch, rows } of readSegments(database, runId, range)) {
    const kept = selectRows(
      rows,
      (step) => step >= from && step <= to && (range.includeAbandoned === true || isActiveStep(rewinds, branch, step)),
    );
    if (kept.length > 0) blocks.push(kept);
  }
  const all = new Float64Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    all.set(block, at);
    at += block.length;
  }
  return all;
}

function selectRows(rows: Float64Array, keep: (step: number) => boolean): Float64Array {
  const count = rowCount(rows);
  const kept = new Float64Array(rows.length);
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    const start = index * ROW_DOUBLES;
    if (!keep(rows[start]!)) continue;
    kept.set(rows.subarray(start, start + ROW_DOUBLES), at);
    at += ROW_DOUBLES;
  }
  return at === kept.length ? kept : kept.subarray(0, at);
}

export function stepsOf(rows: Float64Array): StepMeasurement[] {
  return Array.from({ length: rowCount(rows) }, (_, index) => stepAt(rows, index));
}
