// The logins of this user. Each is in a file that only this user can read. The secret of a login is shown only to the server that gave it.
import { chmodSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { makeFolder, readSecretFileSync, writeOwnFile } from '#files';
import { canBeToken } from '#protocol';
import { CliError, ExitCode } from '../cli-error.js';

const FILE_BYTES_MAX = 64 << 10;

interface KeptLogin {
  server: string;
  secret: string;
}

/** Returns the key of a login. @param isTls a login that was given over TLS is never shown without TLS */
export function serverKey(address: string, isTls: boolean): string {
  return `${isTls ? 'https' : 'http'}://${address.replace(/^localhost:/, '127.0.0.1:')}`;
}

function folder(env = process.env): string {
  return join(env['XDG_CONFIG_HOME'] || join(homedir(), '.config'), 'espalier', 'logins');
}

/**
 * Returns the file of a login. Characters other than letters, digits and dots are written as their numbers, so two addresses never share a
 * file.
 */
function fileOf(server: string): string {
  const name = server.replaceAll(/[^A-Za-z0-9.]/g, (sign) => `_${sign.codePointAt(0)!.toString(16)}_`);
  return join(folder(), `${name}.json`);
}

/** Returns the login at a server; null: this user has not logged in there. @throws CliError LOGIN_FILE_UNUSABLE */
export function keptLogin(server: string): string | null {
  const file = fileOf(server);
  let text: string;
  try {
    text = readSecretFileSync(file, FILE_BYTES_MAX).toString('utf8');
  } catch (error) {
    // A folder that this user can't open holds no login of this user.
    const { code, cause } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException };
    if (code === 'FILE_NOT_FOUND' || cause?.code === 'EACCES') return null;
    throw unusable((error as Error).message, error);
  }
  try {
    const kept = JSON.parse(text) as Partial<KeptLogin>;
    if (kept.server === server && typeof kept.secret === 'string' && canBeToken(kept.secret)) return kept.secret;
  } catch {
    // the error below says what is wrong
  }
  throw unusable(`${file} holds no login of ${server}`);
}

/** @throws CliError LOGIN_FILE_UNUSABLE */
export function keepLogin(server: string, secret: string): string {
  const file = fileOf(server);
  try {
    makeFolder(folder());
    chmodSync(folder(), 0o700);
    writeOwnFile(file, `${JSON.stringify({ server, secret } satisfies KeptLogin)}\n`);
  } catch (error) {
    throw unusable(`the login can't be kept: ${(error as Error).message}`, error);
  }
  return file;
}

export function forgetLogin(server: string): void {
  rmSync(fileOf(server), { force: true });
}

function unusable(message: string, cause?: unknown): CliError {
  return new CliError('LOGIN_FILE_UNUSABLE', message, {
    exitCode: ExitCode.usage,
    cause,
    hint: 'espalier logout removes it; espalier login makes another one',
  });
}
