// Reads the canonical state file that the engine writes (safetensors): names, shapes and values.
import { EspalierError } from '#protocol';

export interface StateTensor {
  name: string;
  dtype: string;
  shape: number[];
  /** The values of F32, F64 and I64 as numbers. */
  values: Float32Array | Float64Array;
}

/** @throws STATE_CORRUPT */
export function readStateFile(bytes: Uint8Array): Map<string, StateTensor> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = headerSize(bytes.byteLength < 8 ? 0n : view.getBigUint64(0, true), bytes.byteLength);
  const header = parseHeader(bytes.subarray(8, 8 + headerBytes));
  const tensors = new Map<string, StateTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [from, to] = entry.data_offsets;
    if (8 + headerBytes + to > bytes.byteLength) throw corrupt(`${name} reaches beyond the end`);
    const data = new Uint8Array(to - from); // copied into a buffer of its own, so that it is aligned
    data.set(bytes.subarray(8 + headerBytes + from, 8 + headerBytes + to));
    tensors.set(name, { name, dtype: entry.dtype, shape: entry.shape, values: valuesOf(name, entry.dtype, data.buffer) });
  }
  return tensors;
}

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

function headerSize(told: bigint, fileBytes: number): number {
  if (fileBytes < 8) throw corrupt('it is shorter than 8 bytes');
  if (8n + told > BigInt(fileBytes)) throw corrupt('its header is longer than the file');
  return Number(told);
}

function parseHeader(bytes: Uint8Array): Header {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')) as Header;
  } catch {
    throw corrupt('its header is not JSON');
  }
}

function valuesOf(name: string, dtype: string, buffer: ArrayBuffer): Float32Array | Float64Array {
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer);
    case 'F64':
      return new Float64Array(buffer);
    case 'I64':
      return Float64Array.from(new BigInt64Array(buffer), Number);
    default:
      throw corrupt(`${name} has type ${dtype}`);
  }
}

function corrupt(why: string): EspalierError {
  return new EspalierError('STATE_CORRUPT', `the state file is damaged: ${why}`);
}
