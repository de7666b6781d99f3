import { randomBytes } from 'node:crypto';
import { renameSync, statSync, writeFileSync } from 'node:fs';
import { readUserFileSync, UserFileError } from './user-file.js';

const EVERY_USER = 0o007;

/** Writes a new secret to the file and returns it. A reader gets the old secret or the new one, never a part of either. */
export function renewSecretFile(file: string): string {
  const secret = randomBytes(32).toString('base64url');
  writeOwnFile(file, `${secret}\n`);
  return secret;
}

/** Replaces a file by a new one, which only its owner can read unless `mode` lets others read it. */
export function writeOwnFile(file: string, text: string, mode = 0o600): void {
  writeFileSync(`${file}.new`, text, { mode });
  renameSync(`${file}.new`, file);
}

/** Reads a key or a token from a file that a user names. Refuses a file that every user of the machine can read. @throws UserFileError */
export function readSecretFileSync(file: string, limitBytes: number): Buffer {
  const bytes = readUserFileSync(file, limitBytes);
  if ((statSync(file).mode & EVERY_USER) === 0) return bytes;
  throw new UserFileError(
    'FILE_UNUSABLE',
    `every user of this machine can open ${file}, which holds a secret; first: chmod 600 ${file}`,
    file,
  );
}
