// The checker's own reading of what is stored, written apart from the writer's, so that one mistake can't hide another.
import { createHash } from 'node:crypto';

/** Keys sorted by code unit, no white space, numbers as JavaScript prints them. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const object = value as Record<string, unknown>;
  return `{${Object.keys(object).sort().map((key) => `${JSON.stringify(key)}:${canonicalJson(object[key])}`).join(',')}}`;
}

export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The digest chain after an event: SHA-256(previous chain, newline, type, newline, the event's bytes with chain ""). */
export function chainAfter(previousChain: string, type: string, fields: Record<string, unknown>): string {
  return sha256Hex(`${previousChain}\n${type}\n${canonicalJson({ ...fields, chain: '' })}`);
}
