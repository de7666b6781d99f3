import { createHash } from 'node:crypto';
import { ArtifactStoreError } from './artifact-store.errors.js';

/** Returns the SHA-256 of the bytes in lower-case hexadecimal. */
export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/** Returns the digest. Digests become file names and object keys, so any other text is refused. */
export function requireDigest(text: string): string {
  if (isDigest(text)) return text;
  throw new ArtifactStoreError(
    'ARTIFACT_DIGEST_INVALID',
    `not a digest: ${JSON.stringify(text)} (64 lower-case hex digits are allowed)`,
    null,
  );
}
