// Decides who may call which method. A call shows the token of the data folder, which only the server's own user can read, a token that an
// admin has given out, or the secret of a person's login. The rule of each method is in the protocol's files (access.proto). gRPC and HTTP
// ask here before they read a message.
import { createHash, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { EspalierError, includesRole, methodAccess, methodAt, roleNamed, ROLES, v1 } from '#protocol';
import { TokenKeeper } from '../../access/token-keeper.js';
import type { Token } from '../../access/tokens.js';
import type { Hold, PersonCalling } from '../../logins/person-calls.js';
import { Logins } from '../../logins/logins.js';
import { ACCESS_TOKEN } from '../../provider-names.js';

/** Health and descriptors are not secrets, and a tool asks for them before it knows anything. */
const OPEN_METHOD = /^\/grpc\.(health|reflection)\./;

/** Tells whether a call needs no token. A login begins with these calls. */
export function isOpenMethod(path: string): boolean {
  return OPEN_METHOD.test(path) || (methodAt(path) !== undefined && methodAccess(path).open);
}

/**
 * The caller of a method. 'owner' is a caller that has shown the data folder's token, or any caller where no token is asked for; the
 * connection then tells its user.
 */
export type Grant =
  | { kind: 'owner' }
  | { kind: 'token'; token: Token }
  | { kind: 'person'; calling: PersonCalling }
  /** The caller of a method that needs no token. */
  | { kind: 'anonymous' };
export const OWNER: Grant = { kind: 'owner' };
export const ANONYMOUS: Grant = { kind: 'anonymous' };

/** Returns null where the caller has no role. */
export function roleNameOf(grant: Grant): keyof typeof ROLES | null {
  switch (grant.kind) {
    case 'owner':
      return 'admin';
    case 'token':
      return grant.token.role;
    case 'person':
      return grant.calling.person.role;
    case 'anonymous':
      return null;
  }
}

export function roleOf(grant: Grant): v1.Role {
  const name = roleNameOf(grant);
  return name === null ? v1.Role.ROLE_UNSPECIFIED : ROLES[name];
}

@Injectable()
export class Access {
  constructor(
    @Inject(ACCESS_TOKEN) private readonly ownToken: string | null,
    @Inject(TokenKeeper) private readonly tokens: TokenKeeper,
    @Inject(Logins) private readonly logins: Logins,
  ) {}

  /** False where every user of this machine may call without a token. */
  get asksForToken(): boolean {
    return this.ownToken !== null;
  }

  /**
   * Returns the caller for the header of a call. No other place turns a shown secret into a caller.
   * @param authorization the header `authorization`. @throws EspalierError TOKEN_NEEDED, TOKEN_WRONG, TOKEN_REVOKED, TOKEN_EXPIRED,
   * TOKENS_UNKNOWN, LOGIN_ENDED, LOGIN_REFUSED, LOGIN_UNAVAILABLE
   */
  async byHeader(authorization: string | undefined): Promise<Grant> {
    if (this.ownToken === null) return OWNER;
    const shown = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    if (shown === undefined) throw tokenNeeded();
    if (isSame(shown, this.ownToken)) return OWNER;
    if (this.logins.takes(shown)) return { kind: 'person', calling: await this.logins.shown(shown) };
    return { kind: 'token', token: this.tokens.shown(shown) };
  }

  /** Returns the caller for a browser that was let in by this token. @throws the errors of `byHeader` */
  byTokenId(tokenId: string): Grant {
    return { kind: 'token', token: this.tokens.requireValid(tokenId) };
  }

  /** Returns the caller for a browser in which a person has logged in. @throws the errors of `byHeader` */
  async byLoginId(loginId: string): Promise<Grant> {
    return { kind: 'person', calling: await this.logins.byLoginId(loginId) };
  }

  /** @throws EspalierError ROLE_TOO_LOW */
  requireRole(path: string, grant: Grant): void {
    if (isOpenMethod(path)) return;
    requireAtLeast(methodAccess(path).role, grant, `${nameOf(path)} is`);
  }

  /** Holds an open call until `release`. The signal aborts when the caller's token or login ends. Undefined where neither can end. */
  hold(grant: Grant): Hold | undefined {
    if (grant.kind === 'token') return { signal: this.tokens.endOf(grant.token.tokenId), release: () => undefined };
    return grant.kind === 'person' ? this.logins.hold(grant.calling) : undefined;
  }
}

/** @throws EspalierError ROLE_TOO_LOW */
export function requireAtLeast(least: v1.Role, grant: Grant, what: string): void {
  if (includesRole(roleOf(grant), least)) return;
  const words = (role: v1.Role): string => roleNamed(role) ?? 'none';
  const whose = grant.kind === 'person' ? grant.calling.person.name : 'this token';
  throw new EspalierError('ROLE_TOO_LOW', `${what} for the role ${words(least)}; ${whose} has the role ${words(roleOf(grant))}`, {
    metadata: { role: words(roleOf(grant)), needed: words(least) },
  });
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** Compares two tokens by their digests. These have one length, so the time of the comparison tells nothing about the token. */
function isSame(shown: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(shown), digest(expected));
}

function tokenNeeded(): EspalierError {
  return new EspalierError(
    'TOKEN_NEEDED',
    'a call needs "authorization: Bearer TOKEN": the one in the file "token" of the data folder, or one of `espalier token create`',
  );
}
