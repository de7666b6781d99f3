// Finds the media type from the bytes. So a folder needs no second file beside each artifact, which could be lost or differ.
import { SLICE_LIST_LEAD } from '#files';

export const MEDIA_TYPE_SAFETENSORS = 'application/x-safetensors';
export const MEDIA_TYPE_EXPORT_MANIFEST = 'application/x-espalier-export-manifest+json';
/** The object of a bucket that names the slices of an artifact. */
export const MEDIA_TYPE_SLICE_LIST = 'text/plain';
const MEDIA_TYPE_JSON = 'application/json';
const MEDIA_TYPE_GGUF = 'application/x-gguf';
const MEDIA_TYPE_PARQUET = 'application/vnd.apache.parquet';
const MEDIA_TYPE_BYTES = 'application/octet-stream';

/** The number of leading bytes that `mediaTypeOf` looks at. */
export const MEDIA_TYPE_PROBE_BYTES = 64;
export const EXPORT_MANIFEST_LEAD = '{"espalierExportManifest":';

export function mediaTypeOf(head: Uint8Array, totalBytes: number): string {
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, MEDIA_TYPE_PROBE_BYTES)).toString('latin1');
  if (text.startsWith(EXPORT_MANIFEST_LEAD)) return MEDIA_TYPE_EXPORT_MANIFEST;
  if (text.startsWith(SLICE_LIST_LEAD)) return MEDIA_TYPE_SLICE_LIST;
  if (text.startsWith('GGUF')) return MEDIA_TYPE_GGUF;
  if (text.startsWith('PAR1')) return MEDIA_TYPE_PARQUET;
  if (isSafetensors(head, totalBytes)) return MEDIA_TYPE_SAFETENSORS;
  if (/^[{[]\s*["\]}{[0-9]/.test(text)) return MEDIA_TYPE_JSON;
  return MEDIA_TYPE_BYTES;
}

/** A safetensors file begins with the length of its header in eight bytes, followed by the header in JSON. */
function isSafetensors(head: Uint8Array, totalBytes: number): boolean {
  if (head.byteLength < 9 || head[8] !== 0x7b) return false;
  const headerBytes = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  return headerBytes >= 2n && headerBytes + 8n <= BigInt(totalBytes);
}
