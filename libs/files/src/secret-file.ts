import { randomBytes } from 'node:crypto';
import { renameSync, statSync, writeFileSync } from 'node:fs';
import { readUserFileSync, UserFileError } from './user-file.js';

const EVERY_USER = 0o007;

/** A new secret in place of the one that a file held; its reader has the old one or the new one, never a part. */
export function renewSecretFile(file: string): string {
  const secret = randomBytes(32).toString('base64url');
  writeOwnFile(file, `${secret}\n`);
  return secret;
}

/** Replaces a file by one that its owner alone can read, unless `mode` lets others. */
export function writeOwnFile(file: string, text: string, mode = 0o600): void {
  writeFileSync(`${file}.new`, text, { mode });
  renameSync(`${file}.new`, file);
}

/** Reads a key or a token that a user names. A file that every user of the machine can read holds no secret. @throws UserFileError */
export function readSecretFileSync(file: string, limitBytes: number): Buffer {
  const bytes = readUserFileSync(file, limitBytes);
  if ((statSync(file).mode & EVERY_USER) === 0) return bytes;
  throw new UserFileError(
    'FILE_UNUSABLE',
    `every user of this machine can open ${file}, which holds a secret; first: chmod 600 ${file}`,
    file,
  );
}
