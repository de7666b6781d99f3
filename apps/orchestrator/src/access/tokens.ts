// The aggregate of all tokens. All functions are pure.
import { EspalierError, invalidField } from '#protocol';
import { TOKEN_ROLES, type NewTokenFact, type TokenEvent, type TokenRole } from './token.events.js';

const DAY_MS = 86_400_000;
const DAYS_MAX = 3_650;
/** The allowed names of tokens. A name becomes part of an actor's name and is shown on command lines. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;

export interface Token {
  tokenId: string;
  name: string;
  role: TokenRole;
  digest: string;
  createdAt: string;
  createdBy: string;
  expiresAt: string;
  revokedAt: string | null;
}

export interface TokensState {
  tokens: Token[];
  /** For each person, the ISO time up to which the person's logins have ended. */
  loginsEnded: Readonly<Record<string, string>>;
  revision: number;
  chain: string;
}

export type TokenChange =
  | { kind: 'create'; tokenId: string; digest: string; name: string; role: TokenRole | undefined; days: number }
  /** `token` is an id, or the name of a valid token. */
  | { kind: 'revoke'; token: string }
  | { kind: 'end logins'; actor: string };

export function evolve(state: TokensState | null, event: TokenEvent): TokensState {
  const before = state ?? { tokens: [], loginsEnded: {}, revision: -1, chain: '' };
  const loginsEnded = event.type === 'LoginsEnded' ? { ...before.loginsEnded, [event.data.actor]: event.at } : before.loginsEnded;
  return { tokens: tokensAfter(before.tokens, event), loginsEnded, revision: before.revision + 1, chain: event.chain };
}

function tokensAfter(tokens: Token[], { type, at, context, data }: TokenEvent): Token[] {
  switch (type) {
    case 'TokenCreated': {
      const { tokenId, name, role, digest, expiresAt } = data;
      const createdBy = context?.actor ?? '';
      return [...tokens, { tokenId, name, role, digest, createdAt: at, createdBy, expiresAt, revokedAt: null }];
    }
    case 'TokenRevoked':
      return tokens.map((one) => (one.tokenId === data.tokenId && one.revokedAt === null ? { ...one, revokedAt: at } : one));
    case 'LoginsEnded':
    case 'Unknown':
      return tokens;
  }
}

/** @throws EspalierError when the recorded tokens do not allow the change */
export function decide(state: TokensState | null, change: TokenChange, at: string): NewTokenFact[] {
  const tokens = state?.tokens ?? [];
  if (change.kind === 'revoke') {
    const token = tokenNamed(tokens, change.token, Date.parse(at));
    return token.revokedAt === null ? [{ type: 'TokenRevoked', at, data: { tokenId: token.tokenId } }] : [];
  }
  if (change.kind === 'end logins') return [{ type: 'LoginsEnded', at, data: { actor: change.actor } }];
  const { tokenId, digest, name, role, days } = change;
  requireName(tokens, name, Date.parse(at));
  if (role === undefined) throw invalidField('FIELD_REQUIRED', 'role', `is needed: ${TOKEN_ROLES.join(', ')} are allowed`);
  if (days < 1 || days > DAYS_MAX) throw invalidField('FIELD_OUT_OF_RANGE', 'days', `${days} is not allowed; 1 to ${DAYS_MAX} are`);
  const expiresAt = new Date(Date.parse(at) + days * DAY_MS).toISOString();
  return [{ type: 'TokenCreated', at, data: { tokenId, name, role, digest, expiresAt } }];
}

/** A token is no longer valid at its time of expiry. */
export function isValid({ revokedAt, expiresAt }: Token, nowMs: number): boolean {
  return revokedAt === null && Date.parse(expiresAt) > nowMs;
}

/** @throws EspalierError FIELD_OUT_OF_RANGE, TOKEN_NAME_TAKEN */
function requireName(tokens: Token[], name: string, nowMs: number): void {
  if (!NAME.test(name))
    throw invalidField('FIELD_OUT_OF_RANGE', 'name', 'needs 1 to 64 letters, digits and . _ @ -, and begins with a letter or a digit');
  if (!tokens.some((one) => one.name === name && isValid(one, nowMs))) return;
  throw invalidField('TOKEN_NAME_TAKEN', 'name', `a valid token has the name ${name}: revoke it first, or choose another name`);
}

/** @throws EspalierError TOKEN_NOT_FOUND */
function tokenNamed(tokens: Token[], text: string, nowMs: number): Token {
  const found = tokens.find((one) => one.tokenId === text) ?? tokens.find((one) => one.name === text && isValid(one, nowMs));
  if (found === undefined) throw invalidField('TOKEN_NOT_FOUND', 'token', 'there is no token of this id, and no valid one of this name');
  return found;
}

/** @throws EspalierError TOKEN_NOT_FOUND */
export function tokenOf(state: TokensState, text: string, nowMs: number): Token {
  return tokenNamed(state.tokens, text, nowMs);
}

export const tokensDamaged = (problems: string[]): EspalierError =>
  new EspalierError('TOKENS_UNKNOWN', `the record of tokens is damaged, so none is accepted: ${problems.join('; ')}`);
