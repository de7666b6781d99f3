import type { ProposedEvent } from './event-record.js';
import { Unimplemented } from './refusals.js';

/** The part of a stream's metadata that the server acts on. */
export interface StreamMetadata {
  maxCount: number | undefined;
  maxAgeSeconds: number | undefined;
  /** Events before this revision are hidden. */
  truncateBefore: number;
  /** A soft delete is a truncation before 2^63 - 1, the largest revision there can be. JSON reads that as a number above all safe ones. */
  softDeleted: boolean;
  /** Everything the metadata holds, to be carried over when the server rewrites it. */
  raw: Record<string, unknown>;
}

export function parseStreamMetadata(stream: string, data: Buffer | undefined): StreamMetadata {
  const raw = parseObject(data);
  const truncateBefore = numberOf(raw.$tb) ?? 0;
  return {
    // A metadata stream keeps its last event only.
    maxCount: stream.startsWith('$$') ? 1 : numberOf(raw.$maxCount),
    maxAgeSeconds: numberOf(raw.$maxAge),
    truncateBefore,
    softDeleted: truncateBefore > Number.MAX_SAFE_INTEGER,
    raw,
  };
}

/**
 * A new access control list is refused: who sets one must not believe that it holds.
 * @throws Unimplemented
 */
export function checkNoAcl(stream: string, events: ProposedEvent[]): void {
  if (!stream.startsWith('$$')) return;
  if (events.some(({ data }) => parseObject(data).$acl !== undefined)) throw new Unimplemented('the access control list of a stream');
}

function parseObject(data: Buffer | undefined): Record<string, unknown> {
  if (!data?.length) return {};
  try {
    const value: unknown = JSON.parse(data.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}
