// ListRuns: filters and order as SQL over narrow, indexed rows; the wide part of a run, and the sum
// over its rows, is read for the page only.
import { invalidField, v1 } from '#protocol';
import { conditionsOf } from './run-conditions.js';
import { decodePageToken, encodePageToken } from './page-token.js';
import type { RunSummary } from './projection/run-detail.js';
import type { ViewsDatabase } from '../event-sourcing/views-file.js';

const DEFAULT_PAGE_SIZE = 50;
const LARGEST_PAGE_SIZE = 500;

const ORDER_COLUMNS = {
  launched_at: 'launched_at_ms',
  updated_at: 'updated_at_ms',
  name: 'name',
  perplexity: 'perplexity',
  sparsity: 'hard_sparsity',
} as const;

/** The filters of a request: those of columns as SQL, conditions on figures over the wide part. */
type RunFilter = Omit<v1.ListRunsRequest, 'pageSize' | 'pageToken' | 'orderBy'>;

export interface RunList {
  runs: RunSummary[];
  nextPageToken: string;
  total: number;
}

/** `heard`: runs whose engine was heard of lately, though their events are older than the lease. */
export function listRuns(database: ViewsDatabase, request: v1.ListRunsRequest, heard: readonly string[], nowMs: number): RunList {
  const pageSize = pageSizeOf(request.pageSize);
  const order = orderOf(request.orderBy);
  const { where, values } = filterOf(database, request, heard, nowMs);
  const shape = [
    order,
    request.statuses,
    request.nameContains,
    request.modelContains,
    request.parentRunId,
    request.includeDeleted,
    ...(request.tags.length === 0 ? [] : [request.tags]),
    ...(request.where.length === 0 ? [] : [request.where]),
  ];
  const total = (database.prepare(`SELECT count(*) AS n FROM runs_rows AS runs WHERE ${where}`).get(values) as { n: number }).n;

  let page = where;
  if (request.pageToken !== '') {
    const key = decodePageToken(request.pageToken, shape);
    page += ` AND (${order.column}, run_id) ${order.descending ? '<' : '>'} (@pageValue, @pageRunId)`;
    Object.assign(values, { pageValue: key.value, pageRunId: key.runId });
  }
  const direction = order.descending ? 'DESC' : 'ASC';
  const rows = database
    .prepare(
      `
    SELECT runs.run_id AS runId, ${order.column} AS value, summary
    FROM (SELECT run_id, ${order.column} FROM runs_rows AS runs WHERE ${page}
          ORDER BY ${order.column} ${direction}, run_id ${direction} LIMIT @limit) AS runs
    JOIN run_details ON run_details.run_id = runs.run_id
    ORDER BY ${order.column} ${direction}, runs.run_id ${direction}`,
    )
    .all({ ...values, limit: pageSize + 1 }) as { runId: string; value: string | number; summary: string }[];
  const shown = rows.slice(0, pageSize);
  return {
    runs: shown.map(({ summary }) => JSON.parse(summary) as RunSummary),
    nextPageToken: rows.length > pageSize ? encodePageToken(shown.at(-1)!, shape) : '',
    total,
  };
}

/** All runs that the filters leave, one after the other. */
export function* filteredRuns(database: ViewsDatabase, filter: RunFilter, heard: readonly string[], nowMs: number): Generator<RunSummary> {
  const { where, values } = filterOf(database, filter, heard, nowMs);
  const summaries = database
    .prepare<[Record<string, unknown>], string>(`SELECT summary FROM runs JOIN run_details USING (run_id) WHERE ${where}`)
    .pluck()
    .iterate(values);
  for (const summary of summaries) yield JSON.parse(summary) as RunSummary;
}

function pageSizeOf(asked: number): number {
  if (asked === 0) return DEFAULT_PAGE_SIZE;
  if (asked <= LARGEST_PAGE_SIZE) return asked;
  throw invalidField('FIELD_OUT_OF_RANGE', 'page_size', `1 to ${LARGEST_PAGE_SIZE} is allowed`);
}

function orderOf(orderBy: string): { column: string; descending: boolean } {
  const [field = '', direction = 'asc', ...rest] = (orderBy.trim() === '' ? 'launched_at desc' : orderBy.trim()).split(/\s+/);
  if (!Object.hasOwn(ORDER_COLUMNS, field) || !['asc', 'desc'].includes(direction) || rest.length > 0) {
    throw invalidField(
      'FIELD_UNKNOWN_VALUE',
      'order_by',
      `one of ${Object.keys(ORDER_COLUMNS).join(', ')} is allowed, with " desc" to turn it round`,
    );
  }
  return { column: ORDER_COLUMNS[field as keyof typeof ORDER_COLUMNS], descending: direction === 'desc' };
}

/** As shownStatus() sees it, in SQL. */
const SHOWN_STATUS = `CASE
  WHEN status = 'training' AND lease_until_ms < @now AND run_id NOT IN (SELECT value FROM json_each(@heard)) THEN 'recovering'
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
  const values: Record<string, unknown> = {};
  if (statuses.length > 0) {
    clauses.push(`${SHOWN_STATUS} IN (SELECT value FROM json_each(@statuses))`);
    values['statuses'] = JSON.stringify(statuses.map(statusName));
    values['now'] = nowMs;
    values['heard'] = JSON.stringify(heard);
  }
  if (request.nameContains !== '') {
    clauses.push('instr(lower(name), lower(@nameContains)) > 0');
    values['nameContains'] = request.nameContains;
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
    // The cheap clauses come first.
    const holds = conditionsOf(request.where);
    database.function(CONDITIONS, { directOnly: true }, (summary: string) => (holds(JSON.parse(summary) as RunSummary) ? 1 : 0));
    clauses.push(`${CONDITIONS}((SELECT summary FROM run_details WHERE run_details.run_id = runs.run_id))`);
  }
  return { where: clauses.join(' AND '), values };
}

/** Made anew for each request, which is answered before the next one. */
const CONDITIONS = 'run_meets_conditions';

function statusName(status: v1.RunStatus): string {
  const name = v1.RunStatus[status];
  if (name === undefined || status === v1.RunStatus.RUN_STATUS_UNSPECIFIED || status === v1.RunStatus.UNRECOGNIZED) {
    throw invalidField('FIELD_UNKNOWN_VALUE', 'statuses', `RunStatus 1 to 10 is allowed, not ${status}`);
  }
  return name.replace('RUN_STATUS_', '').toLowerCase();
}
