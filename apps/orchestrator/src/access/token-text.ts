// A token is "espalier_ID_SECRET". Its id finds its digest, so the secret is compared with one digest only, in constant time.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

const PREFIX = 'espalier';
const ID_BYTES = 6;
const SECRET_BYTES = 32;
const TOKEN = new RegExp(`^${PREFIX}_([0-9a-f]{${2 * ID_BYTES}})_[\\w-]{43}$`);

export interface NewToken {
  tokenId: string;
  secret: string;
  digest: string;
}

export function newToken(): NewToken {
  const tokenId = randomBytes(ID_BYTES).toString('hex');
  const secret = `${PREFIX}_${tokenId}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { tokenId, secret, digest: digestOf(secret).toString('hex') };
}

/** undefined: the text has not the form of a token. */
export function tokenIdIn(text: string): string | undefined {
  return TOKEN.exec(text)?.[1];
}

export function hasDigest(text: string, digest: string): boolean {
  const expected = Buffer.from(digest, 'hex');
  const shown = digestOf(text);
  return expected.length === shown.length && timingSafeEqual(expected, shown);
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
