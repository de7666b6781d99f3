// Digests are shown cut short, so a request may name a digest by its first digits.
import { EspalierError, invalidField } from '#protocol';

export const SHORTEST_PREFIX = 4;
const SHOWN = 5;

/** Returns the text if it is a SHA-256 in lower-case hex or the beginning of one. @throws EspalierError FIELD_OUT_OF_RANGE */
export function requireDigestPrefix(text: string, field: string): string {
  if (/^[0-9a-f]{4,64}$/.test(text)) return text;
  throw invalidField('FIELD_OUT_OF_RANGE', field, `must be a SHA-256 in lower-case hex, or its first ${SHORTEST_PREFIX} or more digits`);
}

/** Returns the one digest that begins with the prefix, or undefined where none does. @throws EspalierError DIGEST_AMBIGUOUS */
export function digestStartingWith(prefix: string, digests: Iterable<string>, field: string): string | undefined {
  const found = [...new Set(digests)].filter((digest) => digest.startsWith(prefix)).sort();
  if (found.length <= 1) return found[0];
  const shown = `${found.slice(0, SHOWN).join(', ')}${found.length > SHOWN ? ', ...' : ''}`;
  const description = `${prefix} is the beginning of several: ${shown}`;
  throw new EspalierError('DIGEST_AMBIGUOUS', `${field}: ${description}`, {
    violations: [{ field, description, code: 'DIGEST_AMBIGUOUS' }],
  });
}
