// Reads data files as a stream of documents. Memory holds one document or one Parquet page, however large the corpus is.
import type { DataFile, TextFile } from './data-files.js';
import type { DocumentRows } from './document-row.js';
import { malformed } from '../model-files.errors.js';
import { readBytes, type BytesRead, type SourceDocument } from './read-bytes.js';
import { readCsv } from './read-csv.js';
import { isJsonArray, readJsonArray } from './read-json.js';
import { readParquet } from './read-parquet.js';
import { UnpackBudget } from './unpack-budget.js';

const LINE_LIMIT_BYTES = 256 << 20;
/** A longer plain text is divided at the first line end after this many bytes. Each part is a document. */
const TEXT_DOCUMENT_BYTES = 1 << 20;
const TEXT_DOCUMENT_LIMIT_BYTES = 4 << 20;

/** Yields the documents of one file, which is unpacked as it is read. */
export async function* readDocuments(
  file: TextFile,
  rows: DocumentRows,
  budget: UnpackBudget,
  onBytes: BytesRead,
): AsyncGenerator<SourceDocument> {
  switch (file.format) {
    case 'parquet':
      yield* readParquet(file, rows, budget, onBytes);
      return;
    case 'csv':
    case 'tsv':
      yield* readCsv(file, rows, budget, onBytes);
      return;
    case 'json': {
      if (await isJsonArray(file)) {
        let element = 0;
        for await (const value of readJsonArray(file, budget, onBytes)) yield rows.document(value, file.path, ++element);
      } else yield* readJsonLines(file, rows, budget, onBytes);
      return;
    }
    case 'jsonl':
      yield* readJsonLines(file, rows, budget, onBytes);
      return;
    case 'text':
      rows.requireWhole(file.path, 'a plain text');
      yield* readText(file, budget, onBytes);
  }
}

/**
 * Unpacks all packed files as a check, so that a file that unpacks to too much is refused early. Unpacking costs a hundredth of tokenizing.
 */
export async function requireUnpackable(files: DataFile[]): Promise<void> {
  const budget = new UnpackBudget();
  for (const file of files.filter(({ packing }) => packing !== null)) for await (const _ of readBytes(file, budget, () => undefined));
}

async function* readJsonLines(
  file: DataFile,
  rows: DocumentRows,
  budget: UnpackBudget,
  onBytes: BytesRead,
): AsyncGenerator<SourceDocument> {
  for await (const { bytes, line } of readLines(file, budget, onBytes)) {
    const value = jsonOfLine(bytes, file.path, line);
    if (value !== undefined) yield rows.document(value, file.path, line);
  }
}

/** Parses a line; undefined: the line is empty. */
export function jsonOfLine(bytes: Buffer, file: string, line: number): unknown {
  const source = decodeUtf8(bytes, file, line);
  if (source.trim() === '') return undefined;
  try {
    return JSON.parse(source) as unknown;
  } catch (error) {
    throw malformed(file, line, `not valid JSON (${(error as Error).message})`);
  }
}

async function* readText(file: DataFile, budget: UnpackBudget, onBytes: BytesRead): AsyncGenerator<SourceDocument> {
  let parts: Buffer[] = [];
  let bytes = 0;
  let start = 1;
  for await (const { bytes: lineBytes, line, ended } of readLines(file, budget, onBytes, TEXT_DOCUMENT_LIMIT_BYTES)) {
    parts.push(lineBytes);
    if (ended) parts.push(NEWLINE);
    bytes += lineBytes.byteLength + (ended ? 1 : 0);
    if (bytes < TEXT_DOCUMENT_BYTES) continue;
    yield { text: toText(parts, file.path, start), file: file.path, line: start };
    parts = [];
    bytes = 0;
    start = line + 1;
  }
  if (parts.length > 0) yield { text: toText(parts, file.path, start), file: file.path, line: start };
}

const NEWLINE = Buffer.from('\n');

function toText(parts: Buffer[], file: string, line: number): string {
  return decodeUtf8(Buffer.concat(parts), file, line).replaceAll('\r\n', '\n');
}

interface Line {
  bytes: Buffer;
  line: number;
  /** by a line end, not by the file's end or the limit */ ended: boolean;
}

/**
 * Yields lines without their ends. A line longer than `cutBytes` is cut there, between two characters. Without `cutBytes`, a line that is
 * too long is refused.
 */
export async function* readLines(file: DataFile, budget: UnpackBudget, onBytes: BytesRead, cutBytes?: number): AsyncGenerator<Line> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let line = 1;
  let isFirst = true;
  const lineBytes = (tail: Buffer): Buffer => {
    let whole = rest.length === 0 ? tail : Buffer.concat([...rest, tail]);
    rest = [];
    restBytes = 0;
    if (isFirst && whole.length >= 3 && whole.readUIntBE(0, 3) === 0xefbbbf) whole = whole.subarray(3); // a byte order mark
    isFirst = false;
    return whole;
  };
  for await (const chunk of readBytes(file, budget, onBytes)) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      yield { bytes: lineBytes(chunk.subarray(from, end)), line: line++, ended: true };
      from = end + 1;
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
    restBytes += chunk.length - from;
    if (restBytes > LINE_LIMIT_BYTES) throw malformed(file.path, line, `longer than ${LINE_LIMIT_BYTES >> 20} MiB, the limit of a line`);
    while (cutBytes !== undefined && restBytes > cutBytes) {
      const long = lineBytes(Buffer.alloc(0));
      const cut = characterStart(long, cutBytes);
      yield { bytes: long.subarray(0, cut), line, ended: false };
      rest = [long.subarray(cut)];
      restBytes = long.length - cut;
    }
  }
  if (restBytes > 0) yield { bytes: lineBytes(Buffer.alloc(0)), line, ended: false };
}

/** Returns the start of the UTF-8 character at an offset. */
function characterStart(bytes: Buffer, offset: number): number {
  let start = offset;
  while (start > offset - 4 && (bytes[start]! & 0xc0) === 0x80) start--;
  return start;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Buffer, file: string, line: number): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw malformed(file, line, 'not valid UTF-8');
  }
}
