// The bytes of a data file, unpacked where it is gzipped.
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { userFileChunks } from '#files';
import { fileError, type DataFile } from './data-files.js';
import { malformed } from './model-files.errors.js';
import type { UnpackBudget } from './unpack-budget.js';

/** In characters (UTF-16 units). */
export interface Span {
  from: number;
  /** The first one after it. */
  to: number;
}

export interface SourceDocument {
  text: string;
  /** The text has the tokens that start and end it already: a chat template wrote them. */
  hasSpecialTokens?: true;
  /** The tokenizer's end token follows the text, where it has one. */
  endsWithToken?: true;
  /** The parts of the text that answer the others, in their order. */
  responses?: Span[];
  file: string;
  /** Line (or Parquet row) that it starts at, from 1. */
  line: number;
}
/** Called with the bytes read from the disk since the last call. */
export type BytesRead = (bytes: number) => void;

export async function* readBytes(file: DataFile, budget: UnpackBudget, onBytes: BytesRead): AsyncGenerator<Buffer> {
  const raw = Readable.from(
    counted(file.path, (bytes) => {
      onBytes(bytes);
      if (file.gzip) budget.read(bytes);
    }),
    { highWaterMark: 1 },
  );
  const source = file.gzip ? raw.pipe(createGunzip()) : raw;
  if (source !== raw) raw.on('error', (error) => source.destroy(error));
  try {
    for await (const chunk of source) {
      if (file.gzip) budget.unpack((chunk as Buffer).byteLength, file.path);
      yield chunk as Buffer;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith('Z_')) throw malformed(file.path, undefined, `damaged or incomplete gzip (${message})`);
    throw fileError(error, file.path);
  } finally {
    raw.destroy();
  }
}

async function* counted(path: string, onBytes: BytesRead): AsyncGenerator<Buffer> {
  for await (const chunk of userFileChunks(path)) {
    onBytes(chunk.byteLength);
    yield chunk;
  }
}

/** The bytes as text, a chunk at a time and without a byte order mark. @throws ModelFilesError DATA_MALFORMED where they are no UTF-8 */
export async function* readUtf8(
  file: DataFile,
  budget: UnpackBudget,
  onBytes: BytesRead,
): AsyncGenerator<{ text: string; byteLength: number }> {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  const decoded = (chunk?: Uint8Array): string => {
    try {
      return chunk === undefined ? utf8.decode() : utf8.decode(chunk, { stream: true });
    } catch {
      throw malformed(file.path, undefined, 'not valid UTF-8');
    }
  };
  for await (const chunk of readBytes(file, budget, onBytes)) yield { text: decoded(chunk), byteLength: chunk.byteLength };
  yield { text: decoded(), byteLength: 0 };
}
