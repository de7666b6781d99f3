// Tests that the file of a fleet's token holds a good token before a job is asked for.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '#protocol';
import type { TokenKeeper } from '../access/token-keeper.js';
import { FleetToken } from './fleet-token.js';

const folder = mkdtempSync(join(tmpdir(), 'fleet-token-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'token');
const DAY_MS = 86_400_000;
const days = (count: number): string => new Date(Date.now() + count * DAY_MS).toISOString();

let made = 0;
/** @param shown the token that the file holds, or the code by which it is refused */
function token(shown: { role: string; expiresAt: string } | string): FleetToken {
  const keeper = {
    shown: () => {
      if (typeof shown === 'string') throw new EspalierError(shown, 'it is no good');
      return shown;
    },
    create: () => Promise.resolve({ token: {}, secret: `espalier_new_${(made += 1)}` }),
  };
  return new FleetToken(keeper as unknown as Pick<TokenKeeper, 'shown' | 'create'>, 'slurm', file);
}
beforeEach(() => {
  made = 0;
  writeFileSync(file, 'espalier_old\n', { mode: 0o600 });
});
const held = (): string => readFileSync(file, 'utf8').trim();

it('is made where the file is missing, for its user alone', async () => {
  rmSync(file);
  await token('TOKENS_UNKNOWN').ensure();
  expect([held(), statSync(file).mode & 0o777]).toEqual(['espalier_new_1', 0o600]);
});

it('is kept while it is good', async () => {
  await token({ role: 'engine', expiresAt: days(31) }).ensure();
  expect(held()).toBe('espalier_old');
});

it.each<[string, Parameters<typeof token>[0]]>([
  ['ends soon', { role: 'engine', expiresAt: days(29) }],
  ['was revoked', 'TOKEN_REVOKED'],
  ['has expired', 'TOKEN_EXPIRED'],
])('is replaced where it %s', async (_, shown) => {
  await token(shown).ensure();
  expect(held()).toBe('espalier_new_1');
});

it('stays where the tokens are not known now', async () => {
  await expect(token('TOKENS_UNKNOWN').ensure()).rejects.toMatchObject({ code: 'TOKENS_UNKNOWN' });
  expect(held()).toBe('espalier_old');
});

const GOOD = { role: 'engine', expiresAt: days(100) };
it.each<[string, Parameters<typeof token>[0], string, number, RegExp]>([
  ['holds something else', GOOD, 'my notes', 0o600, /holds no token: name another token_file, or remove the file/],
  ['can be read by every user', GOOD, 'espalier_old', 0o644, /chmod 600/],
  ['has a token of another role', { ...GOOD, role: 'viewer' }, 'espalier_old', 0o600, /holds a token of the role viewer/],
  ['has a token of another server', 'TOKEN_WRONG', 'espalier_old', 0o600, /holds a token of another server/],
])('is refused, and nothing is overwritten, where the file %s', async (_, shown, text, mode, message) => {
  rmSync(file);
  writeFileSync(file, text, { mode });
  await expect(token(shown).ensure()).rejects.toThrow(message);
  expect(held()).toBe(text);
});
