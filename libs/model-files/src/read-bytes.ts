// The bytes of a data file, unpacked where it is gzipped.
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { fileError, type DataFile } from './data-files.js';
import { malformed } from './model-files.errors.js';

export interface SourceDocument {
  text: string;
  file: string;
  /** Line (or Parquet row) that it starts at, from 1. */
  line: number;
}
/** Called with the bytes read from the disk since the last call. */
export type BytesRead = (bytes: number) => void;

export async function* readBytes(file: DataFile, onBytes: BytesRead): AsyncGenerator<Buffer> {
  const raw = createReadStream(file.path, { highWaterMark: 1 << 18 });
  raw.on('data', (chunk) => onBytes(chunk.length));
  const source = file.gzip ? raw.pipe(createGunzip()) : raw;
  if (source !== raw) raw.on('error', (error) => source.destroy(error));
  try {
    for await (const chunk of source) yield chunk as Buffer;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith('Z_')) throw malformed(file.path, undefined, `damaged or incomplete gzip (${message})`);
    throw fileError(error, file.path);
  } finally {
    raw.destroy();
  }
}
