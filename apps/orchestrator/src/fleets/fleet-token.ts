// The token by which the engines of a fleet join. It lies in a file that only the server's user can read, and jobs get the file's path.
import { existsSync } from 'node:fs';
import { readSecretFileSync, writeOwnFile } from '#files';
import { EspalierError } from '#protocol';
import { randomBytes } from 'node:crypto';
import type { TokenKeeper } from '../access/token-keeper.js';
import { BY_SERVER } from '../event-sourcing/call-context.js';

const FILE_BYTES_MAX = 4 << 10;
const DAYS = 365;
/** A token that ends sooner is replaced. Engines read the file again each time they join. */
const LEAST_DAYS = 30;
const DAY_MS = 86_400_000;

export class FleetToken {
  constructor(
    private readonly tokens: Pick<TokenKeeper, 'shown' | 'create'>,
    private readonly fleet: string,
    readonly file: string,
  ) {}

  /**
   * Makes sure that the file has a token that lets engines in, and returns the token.
   * @throws EspalierError FILE_UNUSABLE, and the errors of the record of tokens
   */
  async ensure(): Promise<string> {
    const before = existsSync(this.file) ? this.read() : null;
    if (before !== null && this.isGood(before)) return before;
    const name = `fleet-${this.fleet}-${randomBytes(4).toString('hex')}`;
    const { secret } = await this.tokens.create({ name, role: 'engine', days: DAYS }, BY_SERVER);
    try {
      writeOwnFile(this.file, `${secret}\n`);
      return secret;
    } catch (error) {
      throw new EspalierError('FILE_UNUSABLE', `the token of the fleet can't be written: ${(error as Error).message}`, { cause: error });
    }
  }

  private read(): string {
    try {
      return readSecretFileSync(this.file, FILE_BYTES_MAX).toString('utf8').trim();
    } catch (error) {
      throw new EspalierError('FILE_UNUSABLE', `the token of the fleet: ${(error as Error).message}`, { cause: error });
    }
  }

  /**
   * Tells whether the token is good, or has to be replaced because it ends soon. Another secret in the file is never replaced. @throws
   * EspalierError FILE_UNUSABLE
   */
  private isGood(text: string): boolean {
    const refused = (what: string): EspalierError =>
      new EspalierError(
        'FILE_UNUSABLE',
        `${this.file} holds ${what}: name another token_file, or remove the file, and the server makes one`,
      );
    if (!text.startsWith('espalier_')) throw refused('no token');
    try {
      const { role, expiresAt } = this.tokens.shown(text);
      if (role !== 'engine') throw refused(`a token of the role ${role}`);
      return Date.parse(expiresAt) - Date.now() > LEAST_DAYS * DAY_MS;
    } catch (error) {
      if (!(error instanceof EspalierError)) throw error;
      if (error.code === 'TOKEN_WRONG') throw refused('a token of another server');
      if (error.code === 'TOKEN_REVOKED' || error.code === 'TOKEN_EXPIRED') return false;
      throw error;
    }
  }
}
