import type { ProposedEvent } from './event-record.js';
import { Unimplemented } from './refusals.js';

/** The part of a stream's metadata that changes what the server does. */
export interface StreamMetadata {
  maxCount: number | undefined;
  maxAgeSeconds: number | undefined;
  /** Events before this revision are hidden. */
  truncateBefore: number;
}

export function parseStreamMetadata(stream: string, data: Buffer | undefined): StreamMetadata {
  const raw = parseObject(data);
  return {
    // A metadata stream keeps only its last event.
    maxCount: stream.startsWith('$$') ? 1 : numberOf(raw.$maxCount),
    maxAgeSeconds: numberOf(raw.$maxAge),
    truncateBefore: numberOf(raw.$tb) ?? 0,
  };
}

/**
 * Refuses a new access control list. It would have no effect, and the client must not believe that it has one.
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
