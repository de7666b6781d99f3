// Text that only this server can make and read. A client or a browser carries it, so the server need not remember it.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

const ALGORITHM = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** @param purpose text that was sealed for another purpose can't be opened */
export function seal(value: object, secret: string, purpose: string, untilMs: number): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(ALGORITHM, keyOf(secret, purpose), nonce);
  const text = Buffer.concat([cipher.update(JSON.stringify({ value, untilMs })), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64url');
}

/** Returns undefined for a text that this server has not made or that is too old. */
export function unseal(sealed: string, secret: string, purpose: string, nowMs: number): unknown {
  const bytes = Buffer.from(sealed, 'base64url');
  if (bytes.length < NONCE_BYTES + TAG_BYTES) return undefined;
  try {
    const decipher = createDecipheriv(ALGORITHM, keyOf(secret, purpose), bytes.subarray(0, NONCE_BYTES));
    decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    const text = Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8');
    const { value, untilMs } = JSON.parse(text) as { value: unknown; untilMs: number };
    return untilMs > nowMs ? value : undefined;
  } catch {
    return undefined;
  }
}

function keyOf(secret: string, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `espalier sealed ${purpose}`, 32));
}
