// Reads a .csv or .tsv file whose first line holds the names of the columns. Quoted values may hold line ends (RFC 4180).
import { Readable } from 'node:stream';
import { parse, type CsvError } from 'csv-parse';
import type { DataFile } from './data-files.js';
import type { DocumentRows } from './document-row.js';
import { malformed, ModelFilesError } from '../model-files.errors.js';
import { readUtf8, type BytesRead, type SourceDocument } from './read-bytes.js';
import type { UnpackBudget } from './unpack-budget.js';

const RECORD_LIMIT_CHARACTERS = 64 << 20;

export async function* readCsv(
  file: DataFile,
  rows: DocumentRows,
  budget: UnpackBudget,
  onBytes: BytesRead,
): AsyncGenerator<SourceDocument> {
  const parser = parse({
    delimiter: file.format === 'tsv' ? '\t' : ',',
    bom: true,
    skip_empty_lines: true,
    max_record_size: RECORD_LIMIT_CHARACTERS,
    info: true,
    columns: (names: string[]) => {
      if (rows.columns(names) === null) throw malformed(file.path, 1, rows.missing(names, 'column'));
      return names;
    },
  });
  const text = Readable.from(textOf(file, budget, onBytes));
  text.on('error', (error) => parser.destroy(error));
  text.pipe(parser);
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: unknown; info: { lines: number } }>) {
      yield rows.document(record, file.path, info.lines);
    }
  } catch (error) {
    if (error instanceof ModelFilesError) throw error;
    const { code, message, lines } = error as CsvError & { lines?: number };
    if (!code.startsWith('CSV_')) throw error;
    throw malformed(file.path, lines, `no valid ${file.format.toUpperCase()} (${message})`);
  } finally {
    text.destroy();
    parser.destroy();
  }
}

async function* textOf(file: DataFile, budget: UnpackBudget, onBytes: BytesRead): AsyncGenerator<string> {
  for await (const { text } of readUtf8(file, budget, onBytes)) yield text;
}
