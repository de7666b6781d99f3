// A page token says where the last page ended, by the key of the order. So runs that come in meanwhile move nothing.
import { createHash } from 'node:crypto';
import { invalidField } from '#protocol';

export interface PageKey {
  /** The run's value in this order, or null where it has none. */
  value: string | number | null;
  runId: string;
}

/** @param shape the order and the filters, with which the token must be used again */
export function encodePageToken(key: PageKey, shape: unknown): string {
  return Buffer.from(JSON.stringify([key.value, key.runId, shapeDigest(shape)]), 'utf8').toString('base64url');
}

export function decodePageToken(token: string, shape: unknown): PageKey {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(token, 'base64url').toString('utf8'));
  } catch {
    parts = null;
  }
  if (!Array.isArray(parts) || parts.length !== 3)
    throw invalidField('PAGE_TOKEN_INVALID', 'page_token', 'is not one that this server gave out; leave it out to start at the first page');
  const [value, runId, digest] = parts as unknown[];
  if ((typeof value !== 'string' && typeof value !== 'number' && value !== null) || typeof runId !== 'string') {
    throw invalidField('PAGE_TOKEN_INVALID', 'page_token', 'is not one that this server gave out; leave it out to start at the first page');
  }
  if (digest !== shapeDigest(shape)) {
    throw invalidField('PAGE_TOKEN_INVALID', 'page_token', 'belongs to another order or filter; use it with the request that gave it');
  }
  return { value, runId };
}

function shapeDigest(shape: unknown): string {
  return createHash('sha256').update(JSON.stringify(shape)).digest('base64url').slice(0, 12);
}
