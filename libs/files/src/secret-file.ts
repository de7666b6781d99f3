import { randomBytes } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';

/** A new secret in place of the one that a file held; its reader has the old one or the new one, never a part. */
export function renewSecretFile(file: string): string {
  const secret = randomBytes(32).toString('base64url');
  writeOwnFile(file, `${secret}\n`);
  return secret;
}

/** Replaces a file by one that its owner alone can read. */
export function writeOwnFile(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
