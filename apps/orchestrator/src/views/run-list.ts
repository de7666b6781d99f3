// Answers ListRuns. Filters, and an order by a column, are SQL over narrow, indexed rows. The wide part of a run, and the sum over its
// rows, is read for the page only. An order by any other figure reads the wide part of every run that passes the filters.
import { enumWords, invalidField, v1 } from '#protocol';
import { conditionsOf } from './run-conditions.js';
import { decodePageToken, encodePageToken, type PageKey } from './page-token.js';
import type { RunSummary } from './projection/run-detail.js';
import { behind, orderedBy, orderOf, type OrderedRun } from './run-order.js';
import type { ViewsDatabase } from '../event-sourcing/read-models/views-file.js';

const DEFAULT_PAGE_SIZE = 50;
const LARGEST_PAGE_SIZE = 500;

/** The filters of a request: those on columns become SQL, and conditions on figures read the wide part. */
export type RunFilter = Omit<v1.ListRunsRequest, 'pageSize' | 'pageToken' | 'orderBy'>;

export interface RunList {
  runs: RunSummary[];
  nextPageToken: string;
  total: number;
}

/** @param heard runs whose engine gave a sign of life lately, though their events are older than the lease */
export function listRuns(database: ViewsDatabase, request: v1.ListRunsRequest, heard: readonly string[], nowMs: number): RunList {
  const pageSize = pageSizeOf(request.pageSize);
  const order = orderOf(request.orderBy, SHOWN_STATUS);
  const shape = [
    [order.name, order.descending],
    request.statuses,
    request.nameContains,
    request.modelContains,
    request.parentRunId,
    request.includeDeleted,
    ...(request.tags.length === 0 ? [] : [request.tags]),
    ...(request.where.length === 0 ? [] : [request.where]),
  ];
  const after = request.pageToken === '' ? null : decodePageToken(request.pageToken, shape);
  const { descending } = order;
  const limit = pageSize + 1; // one more run tells whether there is another page
  let page: { ordered: OrderedRun[]; total: number };
  if ('column' in order) {
    page = pageByColumn(database, { ...filterOf(database, request, heard, nowMs), column: order.column, descending, after, limit });
  } else {
    const all = orderedBy(order.figure, descending, filteredRuns(database, request, heard, nowMs));
    page = { ordered: (after === null ? all : behind(all, after, descending)).slice(0, limit), total: all.length };
  }
  const shown = page.ordered.slice(0, pageSize);
  const summary = database.prepare<[string], string>('SELECT summary FROM run_details WHERE run_id = ?').pluck();
  return {
    runs: shown.flatMap(({ runId }) => {
      const text = summary.get(runId);
      return text === undefined ? [] : [JSON.parse(text) as RunSummary];
    }),
    nextPageToken: page.ordered.length > pageSize ? encodePageToken(shown.at(-1)!, shape) : '',
    total: page.total,
  };
}

interface ColumnPage {
  where: string;
  values: Record<string, unknown>;
  column: string;
  descending: boolean;
  after: PageKey | null;
  limit: number;
}

function pageByColumn(database: ViewsDatabase, { where, values, column, descending, after, limit }: ColumnPage) {
  const total = database.prepare<[object], number>(`SELECT count(*) FROM runs_rows AS runs WHERE ${where}`).pluck().get(values)!;
  const direction = descending ? 'DESC' : 'ASC';
  const page = after === null ? where : `${where} AND (${column}, run_id) ${descending ? '<' : '>'} (@pageValue, @pageRunId)`;
  const ordered = database
    .prepare<[object], OrderedRun>(
      `SELECT run_id AS runId, ${column} AS value FROM runs_rows AS runs WHERE ${page}
       ORDER BY ${column} ${direction}, run_id ${direction} LIMIT @limit`,
    )
    .all({ ...values, ...(after === null ? {} : { pageValue: after.value, pageRunId: after.runId }), limit });
  return { ordered, total };
}

/** Yields all runs that pass the filters, one after another. */
export function* filteredRuns(database: ViewsDatabase, filter: RunFilter, heard: readonly string[], nowMs: number): Generator<RunSummary> {
  const { where, values } = filterOf(database, filter, heard, nowMs);
  const summaries = database
    .prepare<[Record<string, unknown>], string>(`SELECT summary FROM runs JOIN run_details USING (run_id) WHERE ${where}`)
    .pluck()
    .iterate(values);
  for (const summary of summaries) yield JSON.parse(summary) as RunSummary;
}

/** Every status with its number of runs. */
export function countByStatus(database: ViewsDatabase, heard: readonly string[], nowMs: number): Record<string, number> {
  const counted = database
    .prepare<[object], { status: string; count: number }>(`SELECT ${SHOWN_STATUS} AS status, COUNT(*) AS count FROM runs GROUP BY 1`)
    .all({ now: nowMs, heard: JSON.stringify(heard) });
  const none = enumWords(v1.RunStatus, 'RUN_STATUS_').map((status) => [status, 0] as const);
  return { ...Object.fromEntries(none), ...Object.fromEntries(counted.map(({ status, count }) => [status, count] as const)) };
}

export function longestQueuedMs(database: ViewsDatabase, heard: readonly string[], nowMs: number): number {
  const oldest = database
    .prepare<[object], number | null>(`SELECT MIN(updated_at_ms) FROM runs WHERE ${SHOWN_STATUS} = 'queued'`)
    .pluck()
    .get({ now: nowMs, heard: JSON.stringify(heard) });
  return oldest == null ? 0 : Math.max(0, nowMs - oldest);
}

function pageSizeOf(asked: number): number {
  if (asked === 0) return DEFAULT_PAGE_SIZE;
  if (asked <= LARGEST_PAGE_SIZE) return asked;
  throw invalidField('FIELD_OUT_OF_RANGE', 'page_size', `1 to ${LARGEST_PAGE_SIZE} is allowed`);
}

/** The status that shownStatus() returns, as SQL. */
const SHOWN_STATUS = `CASE
  WHEN status = 'training' AND lease_until_ms < @now AND run_id NOT IN (SELECT value FROM json_each(@heard)) THEN 'restarting'
  WHEN status = 'paused' AND paused_by = 'shutdown' THEN 'queued'
  ELSE status END`;

function filterOf(
  database: ViewsDatabase,
  request: RunFilter,
  heard: readonly string[],
  nowMs: number,
): { where: string; values: Record<string, unknown> } {
  const { statuses } = request;
  const showsDeleted = request.includeDeleted || statuses.includes(v1.RunStatus.RUN_STATUS_DELETED);
  const clauses: string[] = [showsDeleted ? '1' : "status <> 'deleted'"];
  const values: Record<string, unknown> = { now: nowMs, heard: JSON.stringify(heard) };
  if (statuses.length > 0) {
    clauses.push(`${SHOWN_STATUS} IN (SELECT value FROM json_each(@statuses))`);
    values['statuses'] = JSON.stringify(statuses.map(statusName));
  }
  if (request.nameContains !== '') {
    const isPattern = request.nameContains.includes('*');
    clauses.push(isPattern ? "name LIKE @nameContains ESCAPE '~'" : 'instr(lower(name), lower(@nameContains)) > 0');
    values['nameContains'] = isPattern ? likePattern(request.nameContains) : request.nameContains;
  }
  if (request.modelContains !== '') {
    clauses.push('instr(lower(model_path), lower(@modelContains)) > 0');
    values['modelContains'] = request.modelContains;
  }
  if (request.parentRunId !== '') {
    clauses.push('parent_run_id = @parentRunId');
    values['parentRunId'] = request.parentRunId;
  }
  if (request.tags.length > 0) {
    clauses.push('NOT EXISTS (SELECT value FROM json_each(@tags) EXCEPT SELECT value FROM json_each(tags))');
    values['tags'] = JSON.stringify(request.tags);
  }
  if (request.where.length > 0) {
    // The conditions come last, after all cheaper clauses.
    const holds = conditionsOf(request.where);
    database.function(CONDITIONS, { directOnly: true }, (summary: string) => (holds(JSON.parse(summary) as RunSummary) ? 1 : 0));
    clauses.push(`${CONDITIONS}((SELECT summary FROM run_details WHERE run_details.run_id = runs.run_id))`);
  }
  return { where: clauses.join(' AND '), values };
}

/** A pattern of SQL for a whole name, in which each * stands for any letters. */
const likePattern = (text: string): string => text.replace(/[~%_]/g, '~$&').replaceAll('*', '%');

/** The function that a statement calls for conditions. Each request defines it again, and is answered before the next one. */
const CONDITIONS = 'run_meets_conditions';

function statusName(status: v1.RunStatus): string {
  const name = v1.RunStatus[status];
  if (name === undefined || status === v1.RunStatus.RUN_STATUS_UNSPECIFIED || status === v1.RunStatus.UNRECOGNIZED) {
    throw invalidField('FIELD_UNKNOWN_VALUE', 'statuses', `RunStatus 1 to 10 is allowed, not ${status}`);
  }
  return name.replace('RUN_STATUS_', '').toLowerCase();
}
