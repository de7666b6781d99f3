/** The part of a stream's metadata that the server acts on. */
export interface StreamMetadata {
  maxCount: number | undefined;
  maxAgeSeconds: number | undefined;
  /** Events before this revision are hidden. */
  truncateBefore: number;
  /** A soft delete is a truncation before the largest revision there can be. */
  softDeleted: boolean;
  acl: StreamAcl;
  /** Everything the metadata holds, to be carried over when the server rewrites it. */
  raw: Record<string, unknown>;
}

export interface StreamAcl {
  read?: string[];
  write?: string[];
  delete?: string[];
  metaRead?: string[];
  metaWrite?: string[];
}

/** 2^63 - 1 as JSON writes it; JavaScript reads it a little higher, hence "at least 2^53" in the test below. */
export const DELETED_TRUNCATE_BEFORE = '9223372036854775807';

export function parseStreamMetadata(stream: string, data: Buffer | undefined): StreamMetadata {
  const raw = parseObject(data);
  const truncateBefore = numberOf(raw.$tb) ?? 0;
  return {
    // A metadata stream keeps its last event only.
    maxCount: stream.startsWith('$$') ? 1 : numberOf(raw.$maxCount),
    maxAgeSeconds: numberOf(raw.$maxAge),
    truncateBefore,
    softDeleted: truncateBefore > Number.MAX_SAFE_INTEGER,
    acl: parseAcl(raw.$acl),
    raw,
  };
}

export function parseAcl(value: unknown): StreamAcl {
  if (typeof value !== 'object' || value === null) return {};
  const acl = value as Record<string, unknown>;
  const result: StreamAcl = {};
  const read = rolesOf(acl.$r);
  const write = rolesOf(acl.$w);
  const remove = rolesOf(acl.$d);
  const metaRead = rolesOf(acl.$mr);
  const metaWrite = rolesOf(acl.$mw);
  if (read) result.read = read;
  if (write) result.write = write;
  if (remove) result.delete = remove;
  if (metaRead) result.metaRead = metaRead;
  if (metaWrite) result.metaWrite = metaWrite;
  return result;
}

export function parseObject(data: Buffer | undefined): Record<string, unknown> {
  if (!data?.length) return {};
  try {
    const value: unknown = JSON.parse(data.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function rolesOf(value: unknown): string[] | undefined {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) return undefined;
  return value.filter((role): role is string => typeof role === 'string');
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}
