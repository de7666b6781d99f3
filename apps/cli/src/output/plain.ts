// Protocol messages as plain JSON for programs: snake_case as in the protocol, enums as short words, dates in ISO form,
// 64-bit numbers as numbers while exact and as strings beyond, a field that is not set as null.
import { settingsTable, v1 } from '#protocol';
import { enumWord } from './format.js';

const status = (value: number): string => enumWord(v1.RunStatus[value] ?? 'RUN_STATUS_UNSPECIFIED', 'RUN_STATUS_');

/** An enum is told by the name of its field. */
function wordOf(value: number, key: string): string | undefined {
  if (key === 'status' || key === 'recordedStatus') return status(value);
  const setting = settingsTable().find(({ name }) => name === key);
  if (setting?.kind !== 'word') return undefined;
  return [...setting.numbers].find(([, number]) => number === value)?.[0] ?? 'unspecified';
}

export function toPlain(value: unknown, key = ''): unknown {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint')
    return value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(value) : String(value);
  if (typeof value === 'number') return wordOf(value, key) ?? (Number.isFinite(value) ? value : null);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map((item) => toPlain(item));
  if (typeof value !== 'object') return value;
  if ('$case' in value) {
    // one of several: only the one that is set
    const { $case: name, value: inner } = value as { $case: string; value: unknown };
    return { [snakeCase(name)]: toPlain(inner, name) };
  }
  const plain: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(withoutStandIns(value))) {
    const isOneOf = typeof inner === 'object' && inner !== null && '$case' in inner;
    if (isOneOf) Object.assign(plain, toPlain(inner) as object);
    else plain[snakeCase(name)] = toPlain(inner, name);
  }
  return plain;
}

const PERPLEXITY_ONLY = ['perplexity', 'negativeLogLikelihood', 'predictions', 'window'] as const;

/** Fields that mean nothing in a message are 0 in the protocol: here they are not set. */
function withoutStandIns(message: object): object {
  const fields = message as Partial<v1.Evaluation & v1.LoaderProof>;
  if ('samplesDigest' in message && fields.perplexity === 0)
    return { ...message, ...Object.fromEntries(PERPLEXITY_ONLY.map((name) => [name, undefined])) };
  if ('loader' in message && fields.outcome !== 'agrees') return { ...message, negativeLogLikelihood: undefined };
  return message;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
