// Reads the canonical state file that the engine writes (safetensors): names, shapes and values, nothing else.
import { EspalierError } from '#protocol';

export interface StateTensor {
  name: string;
  dtype: string;
  shape: number[];
  /** F32, F64 and I64 as numbers. */
  values: Float32Array | Float64Array;
}

/** @throws STATE_CORRUPT */
export function readStateFile(bytes: Uint8Array): Map<string, StateTensor> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 8) throw corrupt('it is shorter than 8 bytes');
  const headerBytes = Number(view.getBigUint64(0, true));
  if (8 + headerBytes > bytes.byteLength) throw corrupt('its header is longer than the file');
  let header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  try {
    header = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + 8, headerBytes).toString('utf8')) as typeof header;
  } catch {
    throw corrupt('its header is not JSON');
  }
  const tensors = new Map<string, StateTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [from, to] = entry.data_offsets;
    if (8 + headerBytes + to > bytes.byteLength) throw corrupt(`${name} reaches beyond the end`);
    const data = new Uint8Array(to - from); // copied: aligned, and a buffer of its own
    data.set(bytes.subarray(8 + headerBytes + from, 8 + headerBytes + to));
    tensors.set(name, { name, dtype: entry.dtype, shape: entry.shape, values: valuesOf(name, entry.dtype, data.buffer) });
  }
  return tensors;
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
