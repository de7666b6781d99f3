// The checker reads stored data with code of its own, separate from the writer's, so that a mistake in one can't hide a mistake in the
// other.
import { createHash } from 'node:crypto';

/** Writes JSON with keys sorted by code unit, without white space, and with numbers as JavaScript prints them. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const object = value as Record<string, unknown>;
  return `{${Object.keys(object)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(object[key])}`)
    .join(',')}}`;
}

export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * Returns the digest chain after an event. It is the SHA-256 over these lines: the chain before, the event's id, its
 * type, and its fields with an empty chain.
 */
export function chainAfter(previousChain: string, { id, type }: { id: string; type: string }, fields: Record<string, unknown>): string {
  return sha256Hex([previousChain, id, type, canonicalJson({ ...fields, chain: '' })].join('\n'));
}

/** Returns a UUID (version 8) that is computed from names: the SHA-256 over them, one a line, cut to 16 bytes. */
export function uuidOf(names: (string | number)[]): string {
  const hex = Array.from(sha256Hex(names.join('\n')).slice(0, 32));
  hex[12] = '8';
  hex[16] = ((parseInt(hex[16]!, 16) & 3) | 8).toString(16);
  return hex.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
