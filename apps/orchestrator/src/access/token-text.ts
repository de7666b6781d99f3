// The texts of secrets. A token is "espalier_ID_SECRET", and the secret of a person's login is "espalierlogin_ID_SECRET". The id leads to
// the stored digest, so a secret is compared with one digest only, in constant time.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

export type SecretKind = 'espalier' | 'espalierlogin';
const ID_BYTES = 6;
const SECRET_BYTES = 32;
const SECRET = new RegExp(`^(espalier|espalierlogin)_([0-9a-f]{${2 * ID_BYTES}})_[\\w-]{43}$`);

export interface NewToken {
  tokenId: string;
  secret: string;
  digest: string;
}

export function newToken(kind: SecretKind = 'espalier'): NewToken {
  const tokenId = randomBytes(ID_BYTES).toString('hex');
  const secret = `${kind}_${tokenId}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { tokenId, secret, digest: digestOf(secret).toString('hex') };
}

/** Returns the id in the text, or undefined where the text does not have the form of a secret of this kind. */
export function tokenIdIn(text: string, kind: SecretKind = 'espalier'): string | undefined {
  const [, shown, id] = SECRET.exec(text) ?? [];
  return shown === kind ? id : undefined;
}

export function hasDigest(text: string, digest: string): boolean {
  const expected = Buffer.from(digest, 'hex');
  const shown = digestOf(text);
  return expected.length === shown.length && timingSafeEqual(expected, shown);
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
