// Reads the canonical state file that the engine writes (safetensors): names, shapes and values of tensors.
import { EspalierError } from '#protocol';

export const HEADER_BYTES_MAX = 100_000_000n;

/** The tensors of a state file in their order, each with the size of its values. */
export type StateHeader = Map<string, { dtype: string; shape: number[]; from: number; bytes: number }>;

/** @param text the header without its size @throws STATE_CORRUPT */
export function headerOf(text: Uint8Array): StateHeader {
  const tensors: StateHeader = new Map();
  for (const [name, { dtype, shape, data_offsets: place }] of Object.entries(parseHeader(text)))
    if (name !== '__metadata__') tensors.set(name, { dtype, shape, from: place[0], bytes: place[1] - place[0] });
  return tensors;
}

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

function parseHeader(bytes: Uint8Array): Header {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')) as Header;
  } catch {
    throw corrupt('its header is not JSON');
  }
}

/** The values of F32, F64 and I64 as numbers. */
export function valuesOf(name: string, dtype: string, buffer: ArrayBuffer): Float32Array | Float64Array {
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
