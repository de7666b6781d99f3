// Compresses answers and pages for clients that ask for it by HTTP's own headers. The work is done beside the event loop.
import { brotliCompress, brotliDecompress, constants, gunzip, gzip } from 'node:zlib';
import { promisify } from 'node:util';
import type { Compression } from '@connectrpc/connect/protocol';

/** A shorter answer would hardly get shorter, and would be later. */
export const COMPRESSED_BYTES_MIN = 4_096;
/** The effort for an answer, which is made once and sent once: more effort would take more time than it saves in sending. */
const ANSWER_QUALITY = 4;
/** The effort for a file of the page, which is made once for all browsers. */
const PAGE_QUALITY = 9;

const zipped = promisify(gzip);
const unzipped = promisify(gunzip);
const pressed = promisify<Uint8Array, object, Buffer>(brotliCompress);
const unpressed = promisify<Uint8Array, object, Buffer>(brotliDecompress);
const own = (bytes: Buffer): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

export type Encoding = 'br' | 'gzip';

/** The compressions, the preferred one first. */
export const ANSWER_COMPRESSIONS: Compression[] = [
  {
    name: 'br',
    compress: async (bytes) => own(await pressed(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: ANSWER_QUALITY } })),
    decompress: async (bytes, maxOutputLength) => own(await unpressed(bytes, { maxOutputLength })),
  },
  {
    name: 'gzip',
    compress: async (bytes) => own(await zipped(bytes)),
    decompress: async (bytes, maxOutputLength) => own(await unzipped(bytes, { maxOutputLength })),
  },
];

export async function compressedPage(bytes: Uint8Array, encoding: Encoding): Promise<Buffer> {
  if (encoding === 'gzip') return zipped(bytes);
  return pressed(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: PAGE_QUALITY } });
}

/** The best encoding that a request accepts, or null for uncompressed bytes. */
export function encodingFor(acceptEncoding: string): Encoding | null {
  const accepted = acceptEncoding
    .toLowerCase()
    .split(',')
    .map((part) => part.trim().split(/\s*;\s*q=/))
    .filter(([, weight = '1']) => Number(weight) > 0)
    .map(([name]) => name);
  return (['br', 'gzip'] as const).find((name) => accepted.includes(name)) ?? null;
}
