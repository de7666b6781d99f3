// The checker's own reading of stored data, separate from the writer's code, so that one mistake can't hide another.
import { createHash } from 'node:crypto';

/** Keys sorted by code unit, no white space, numbers as JavaScript prints them. */
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
 * The digest chain after an event: SHA-256 over the chain before it, from version 2 on its id, its type, and its bytes with
 * chain "", each on a line.
 */
export function chainAfter(previousChain: string, { id, type }: { id: string; type: string }, fields: Record<string, unknown>): string {
  const lines = [previousChain, ...(Number(fields['v']) >= 2 ? [id] : []), type, canonicalJson({ ...fields, chain: '' })];
  return sha256Hex(lines.join('\n'));
}

/** A UUID (version 8) that follows from names: SHA-256 over them, a line each, cut to 16 bytes. */
export function uuidOf(names: (string | number)[]): string {
  const hex = Array.from(sha256Hex(names.join('\n')).slice(0, 32));
  hex[12] = '8';
  hex[16] = ((parseInt(hex[16]!, 16) & 3) | 8).toString(16);
  return hex.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
