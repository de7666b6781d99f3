// Converts protocol messages to plain JSON for programs: names in snake_case as in the protocol, enums as short words, dates in ISO form,
// 64-bit numbers as numbers while they are exact and else as strings, and null for fields that are not set.
import { settingsTable, v1 } from '#protocol';
import { enumWord } from './format.js';

const status = (value: number): string => enumWord(v1.RunStatus[value] ?? 'RUN_STATUS_UNSPECIFIED', 'RUN_STATUS_');

/** Returns the word of an enum's value; the name of the field tells which enum it is. */
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
    // A oneof: only the field that is set is written.
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

/** Removes fields that mean nothing in this message. The protocol gives them as 0. */
function withoutStandIns(message: object): object {
  const fields = message as Partial<v1.Evaluation & v1.LoaderProof & v1.Run>;
  if ('samplesDigest' in message && fields.perplexity === 0)
    return { ...message, ...Object.fromEntries(PERPLEXITY_ONLY.map((name) => [name, undefined])) };
  if ('tokensPerSecond' in message && fields.etaSeconds === 0) return { ...message, etaSeconds: undefined };
  if ('loader' in message && fields.outcome !== 'agrees') return { ...message, negativeLogLikelihood: undefined };
  return message;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
