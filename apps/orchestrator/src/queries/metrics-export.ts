// Answers ExportMetrics: every recorded step, without sampling. Abandoned steps are marked.
import { parquetWriteBuffer } from 'hyparquet-writer';
import { invalidField } from '#protocol';
import { STEP_FIGURES } from '../pruning-run/record/steps-measured.js';
import { METRIC_COLUMNS, numberAt, ROW_DOUBLES, rowCount } from '../views/projection/metrics-codec.js';
import { readSegments } from '../views/projection/metrics-reader.js';
import { fileVersion, scalarsRecord } from './tensorboard.js';
import { isActiveStep, type Rewind } from '../views/projection/run-detail.js';
import type { ViewsDatabase } from '../event-sourcing/read-models/views-file.js';

const CHUNK_BYTES = 1 << 18;
const FORMATS = ['csv', 'jsonl', 'parquet', 'tensorboard'] as const;

const KINDS = { count: 'integer', mark: 'integer', flag: 'flag', number: 'number', finite: 'number' } as const;
const COLUMNS = METRIC_COLUMNS.map((name) => ({
  name: name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  kind: KINDS[STEP_FIGURES[name]],
}));
const LEAD = ['branch', 'attempt', 'abandoned'] as const;

interface ExportRow {
  branch: number;
  attempt: number;
  abandoned: boolean;
  /** The values in the order of COLUMNS, with null for no value. */
  values: (number | boolean | null)[];
}

export async function* exportMetrics(
  database: ViewsDatabase,
  runId: string,
  rewinds: readonly Rewind[],
  format: string,
  launchedAt: Date,
): AsyncGenerator<Uint8Array> {
  switch (format) {
    case 'csv':
      yield* joined(csvLines(exportRows(database, runId, rewinds)));
      return;
    case 'jsonl':
      yield* joined(jsonLines(exportRows(database, runId, rewinds)));
      return;
    case 'parquet':
      yield* parquetChunks([...exportRows(database, runId, rewinds)]);
      return;
    case 'tensorboard':
      yield* gathered(tensorBoardRecords(exportRows(database, runId, rewinds), launchedAt));
      return;
    default:
      throw invalidField('FIELD_UNKNOWN_VALUE', 'format', `one of ${FORMATS.join(', ')} is allowed`);
  }
}

function* exportRows(database: ViewsDatabase, runId: string, rewinds: readonly Rewind[]): Iterable<ExportRow> {
  for (const { branch, attempt, rows } of readSegments(database, runId)) {
    for (let index = 0; index < rowCount(rows); index += 1) {
      const row = rows.subarray(index * ROW_DOUBLES, (index + 1) * ROW_DOUBLES);
      const values = COLUMNS.map(({ kind }, column) => {
        const value = numberAt(row, column);
        if (kind === 'flag') return value === 1;
        return Number.isNaN(value) ? null : value;
      });
      yield { branch, attempt, abandoned: !isActiveStep(rewinds, branch, numberAt(row, 0)), values };
    }
  }
}

function* csvLines(rows: Iterable<ExportRow>): Iterable<string> {
  yield `${[...LEAD, ...COLUMNS.map(({ name }) => name)].join(',')}\n`;
  for (const { branch, attempt, abandoned, values } of rows)
    yield `${[branch, attempt, abandoned, ...values.map((value) => value ?? '')].join(',')}\n`;
}

function* jsonLines(rows: Iterable<ExportRow>): Iterable<string> {
  for (const { values, ...lead } of rows) {
    yield `${JSON.stringify({ ...lead, ...Object.fromEntries(COLUMNS.map(({ name }, column) => [name, values[column]])) })}\n`;
  }
}

/**
 * The steps as records of TensorBoard. It has one line of steps, so abandoned steps are left out. Times are times of training, counted from
 * the launch.
 */
function* tensorBoardRecords(rows: Iterable<ExportRow>, launchedAt: Date): Iterable<Uint8Array> {
  let wallTime = launchedAt.getTime() / 1_000;
  yield fileVersion(wallTime);
  for (const { abandoned, values } of rows) {
    if (abandoned) continue;
    const known = COLUMNS.flatMap(({ name }, column): [string, number][] => {
      const value = values[column];
      return typeof value === 'number' && name !== 'step' ? [[name, value]] : [];
    });
    wallTime += known.find(([name]) => name === 'seconds')?.[1] ?? 0;
    yield scalarsRecord({ step: values[0] as number, wallTime, values: known });
  }
}

function* gathered(records: Iterable<Uint8Array>): Iterable<Uint8Array> {
  let some: Uint8Array[] = [];
  let bytes = 0;
  for (const one of records) {
    some.push(one);
    bytes += one.length;
    if (bytes < CHUNK_BYTES) continue;
    yield Buffer.concat(some);
    some = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(some);
}

function* joined(lines: Iterable<string>): Iterable<Uint8Array> {
  let text = '';
  for (const line of lines) {
    text += line;
    if (text.length < CHUNK_BYTES) continue;
    yield Buffer.from(text, 'utf8');
    text = '';
  }
  if (text !== '') yield Buffer.from(text, 'utf8');
}

function* parquetChunks(rows: ExportRow[]): Iterable<Uint8Array> {
  const file = new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: 'branch', type: 'INT32', data: rows.map(({ branch }) => branch) },
        { name: 'attempt', type: 'INT32', data: rows.map(({ attempt }) => attempt) },
        { name: 'abandoned', type: 'BOOLEAN', data: rows.map(({ abandoned }) => abandoned) },
        ...COLUMNS.map(({ name, kind }, column) =>
          parquetColumn(
            name,
            kind,
            rows.map(({ values }) => values[column] ?? null),
          ),
        ),
      ],
    }),
  );
  for (let start = 0; start < file.byteLength; start += CHUNK_BYTES) yield file.subarray(start, start + CHUNK_BYTES);
}

function parquetColumn(
  name: string,
  kind: (typeof KINDS)[keyof typeof KINDS],
  data: (number | boolean | null)[],
): {
  name: string;
  type: 'INT64' | 'DOUBLE' | 'BOOLEAN';
  nullable: boolean;
  data: unknown[];
} {
  if (kind === 'flag') return { name, type: 'BOOLEAN', nullable: false, data };
  if (kind === 'number') return { name, type: 'DOUBLE', nullable: true, data };
  return { name, type: 'INT64', nullable: true, data: data.map((value) => (value === null ? null : BigInt(value))) };
}
