// Keeps the logins of this server in a file of the data folder that only its user can read. The file holds a digest of each secret, and the
// refresh token by which the server asks the provider again.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { writeOwnFile } from '#files';
import { LOGIN_ROLES } from './oidc-file.js';

const LOGINS_FILE = 'logins.json';

const stored = z.object({
  loginId: z.string(),
  digest: z.string(),
  by: z.enum(['browser', 'device']),
  actor: z.string(),
  subject: z.string(),
  name: z.string(),
  role: z.enum(LOGIN_ROLES),
  beganAtMs: z.number(),
  /** The latest time at which the provider is asked again. */
  trustedUntilMs: z.number(),
  endsAtMs: z.number(),
  refreshToken: z.string().optional(),
});
export type StoredLogin = z.infer<typeof stored>;

/** The content of the file. Logins of another provider or client are ignored. */
const file = z.object({ issuer: z.string(), clientId: z.string(), logins: z.array(stored) });

export class LoginStore {
  private readonly path: string;

  constructor(
    dataFolder: string,
    private readonly of: { issuer: string; clientId: string },
    private readonly log: Pick<Logger, 'warn' | 'error'>,
  ) {
    this.path = join(dataFolder, LOGINS_FILE);
  }

  /** Reads the logins. A file that can't be read does not keep the server from starting: people log in again. */
  read(): StoredLogin[] {
    try {
      const { issuer, clientId, logins } = file.parse(JSON.parse(readFileSync(this.path, 'utf8')));
      return issuer === this.of.issuer && clientId === this.of.clientId ? logins : [];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        this.log.warn({ file: this.path }, 'the file of logins can not be read: people log in again');
      return [];
    }
  }

  /** Writes the logins. On a full disk they go on until the server is restarted. */
  write(logins: readonly StoredLogin[]): void {
    try {
      const { issuer, clientId } = this.of;
      writeOwnFile(this.path, `${JSON.stringify({ issuer, clientId, logins })}\n`);
    } catch (error) {
      this.log.error({ problem: (error as Error).message }, 'logins could not be written: after a restart people have to log in again');
    }
  }
}
