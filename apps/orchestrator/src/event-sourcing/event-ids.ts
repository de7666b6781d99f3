import { createHash } from 'node:crypto';

/**
 * A UUID (version 8) that is the same for the same names. So an append can be repeated when its outcome is unknown: the store recognises
 * the ids and stores nothing twice.
 */
export function eventId(...names: (string | number)[]): string {
  const bytes = createHash('sha256').update(names.join('\n')).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/**
 * An id of 12 characters (60 bits) that follows from the request's id. So a repeated request finds, without an index, the aggregate that it
 * made before.
 */
export function idOfRequest(kind: string, requestId: string): string {
  const bytes = createHash('sha256').update(`${kind}\n${requestId}`).digest();
  return Array.from({ length: 12 }, (_, index) => ALPHABET[bytes[index]! & 31]).join('');
}
