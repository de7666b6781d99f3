// Who may call what. A call shows the token of the data folder, which only the server's own user can read, or a token that an admin has
// given out. The rule of each method is in the protocol's files (access.proto); gRPC and HTTP ask here before they read a message.
import { createHash, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { EspalierError, includesRole, methodAccess, roleNamed, ROLES, v1 } from '#protocol';
import { TokenKeeper } from '../../access/token-keeper.js';
import type { Token } from '../../access/tokens.js';
import { ACCESS_TOKEN } from '../../tokens.js';

/** Health and descriptors are no secrets, and a tool asks for them before it knows anything. */
const OPEN_METHOD = /^\/grpc\.(health|reflection)\./;

export function isOpenMethod(path: string): boolean {
  return OPEN_METHOD.test(path);
}

/** The token that a caller has shown; null: the data folder's, or none is asked for, so the connection's user is who calls. */
export type Grant = { token: Token } | { token: null };
export const OWNER: Grant = { token: null };

export function roleOf({ token }: Grant): v1.Role {
  return token === null ? v1.Role.ROLE_ADMIN : ROLES[token.role];
}

@Injectable()
export class Access {
  constructor(
    @Inject(ACCESS_TOKEN) private readonly ownToken: string | null,
    @Inject(TokenKeeper) private readonly tokens: TokenKeeper,
  ) {}

  /** null: every user of this machine may call, without a token. */
  get asksForToken(): boolean {
    return this.ownToken !== null;
  }

  /** @param authorization a header. @throws EspalierError TOKEN_NEEDED, TOKEN_WRONG, TOKEN_REVOKED, TOKEN_EXPIRED, TOKENS_UNKNOWN */
  byHeader(authorization: string | undefined): Grant {
    if (this.ownToken === null) return OWNER;
    const shown = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    if (shown === undefined) throw tokenNeeded();
    return isSame(shown, this.ownToken) ? OWNER : { token: this.tokens.shown(shown) };
  }

  /** For a browser that was let in by this token. @throws EspalierError as `byHeader` */
  byTokenId(tokenId: string): Grant {
    return { token: this.tokens.requireValid(tokenId) };
  }

  /** @throws EspalierError ROLE_TOO_LOW */
  requireRole(path: string, grant: Grant): void {
    requireAtLeast(methodAccess(path).role, grant, `${nameOf(path)} is`);
  }

  /** Aborted when the caller's token ends; undefined: it does not end. */
  endOf({ token }: Grant): AbortSignal | undefined {
    return token === null ? undefined : this.tokens.endOf(token.tokenId);
  }
}

/** @throws EspalierError ROLE_TOO_LOW */
export function requireAtLeast(least: v1.Role, grant: Grant, what: string): void {
  if (includesRole(roleOf(grant), least)) return;
  const words = (role: v1.Role): string => roleNamed(role)!;
  throw new EspalierError('ROLE_TOO_LOW', `${what} for the role ${words(least)}; this token has the role ${words(roleOf(grant))}`, {
    metadata: { role: words(roleOf(grant)), needed: words(least) },
  });
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** Digests have one length, so the time of the comparison tells nothing of the token. */
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
