// Reads the bytes of a data file, and unpacks a packed file.
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { Decompress } from 'fzstd';
import { userFileChunks } from '#files';
import { fileError, type DataFile } from './data-files.js';
import { malformed, ModelFilesError } from '../model-files.errors.js';
import type { UnpackBudget } from './unpack-budget.js';

/** A part of a text, in characters (UTF-16 units). */
export interface Span {
  from: number;
  /** The first character behind the part. */
  to: number;
}

export interface SourceDocument {
  text: string;
  /** The text already has its special tokens, because a chat template wrote it. */
  hasSpecialTokens?: true;
  /** The tokenizer's end token, if it has one, follows the text. */
  endsWithToken?: true;
  /** The parts of the text that are responses, in order. */
  responses?: Span[];
  file: string;
  /** The line (or the Parquet row) at which the document starts, counted from 1. */
  line: number;
}
/** Called with the number of bytes read from the disk since the last call. */
export type BytesRead = (bytes: number) => void;

export async function* readBytes(file: DataFile, budget: UnpackBudget, onBytes: BytesRead): AsyncGenerator<Buffer> {
  const packed = counted(file.path, (bytes) => {
    onBytes(bytes);
    if (file.packing !== null) budget.read(bytes);
  });
  try {
    if (file.packing === 'gzip') yield* unpackedGzip(packed, file.path, budget);
    else if (file.packing === 'zstd') yield* unpackedZstd(packed, file.path, budget);
    else yield* packed;
  } catch (error) {
    throw fileError(error, file.path);
  }
}

async function* unpackedGzip(packed: AsyncGenerator<Buffer>, file: string, budget: UnpackBudget): AsyncGenerator<Buffer> {
  const raw = Readable.from(packed, { highWaterMark: 1 });
  const source = raw.pipe(createGunzip());
  raw.on('error', (error) => source.destroy(error));
  try {
    for await (const chunk of source) {
      budget.unpack((chunk as Buffer).byteLength, file);
      yield chunk as Buffer;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith('Z_')) throw malformed(file, undefined, `damaged or incomplete gzip (${message})`);
    throw error;
  } finally {
    raw.destroy();
  }
}

async function* unpackedZstd(packed: AsyncGenerator<Buffer>, file: string, budget: UnpackBudget): AsyncGenerator<Buffer> {
  let unpacked: Buffer[] = [];
  // A few bytes may unpack to gigabytes, so the unpacked bytes are counted block by block.
  const decoder = new Decompress((block) => {
    budget.unpack(block.byteLength, file);
    if (block.byteLength > 0) unpacked.push(Buffer.from(block.buffer, block.byteOffset, block.byteLength));
  });
  const push = (chunk: Uint8Array, isLast: boolean): Buffer[] => {
    unpacked = [];
    try {
      decoder.push(chunk, isLast);
    } catch (error) {
      if (error instanceof ModelFilesError) throw error;
      throw malformed(file, undefined, `damaged or incomplete zstd (${(error as Error).message})`);
    }
    return unpacked;
  };
  for await (const chunk of packed) yield* push(chunk, false);
  yield* push(new Uint8Array(), true);
}

async function* counted(path: string, onBytes: BytesRead): AsyncGenerator<Buffer> {
  for await (const chunk of userFileChunks(path)) {
    onBytes(chunk.byteLength);
    yield chunk;
  }
}

/** Yields the bytes as text, chunk by chunk, without a byte order mark. @throws ModelFilesError DATA_MALFORMED if they are not UTF-8 */
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
