// Names the caller of a command as events record it: the person who has logged in, or the name of the token. A caller that shows the data
// folder's token is the user of its connection, which the kernel told when the connection came. From another machine this caller counts as
// the server's own user.
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import type { Metadata, ServerInterceptor } from '@grpc/grpc-js';
import { ServerInterceptingCall, status } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import type { ConnectionEnds, Peer } from '#local-access';
import { EspalierError, reportFailure, requestIdIn, toServiceError, type CallInfo } from '#protocol';
import type { CallContext } from '../../event-sourcing/call-context.js';
import type { OidcSettings } from '../../logins/oidc-file.js';
import { LOGGER, OIDC } from '../../provider-names.js';
import { Access, isOpenMethod, roleNameOf, ANONYMOUS, type Grant } from './access.js';
import { CallRate } from './call-rate.js';
import { Doors } from './doors.js';

@Injectable()
export class Callers {
  private readonly rate: CallRate;
  private readonly peers = new WeakMap<Metadata, Peer>();
  private readonly grants = new WeakMap<Metadata, Grant>();

  constructor(
    @Inject(Doors) private readonly doors: Doors,
    @Inject(Access) private readonly access: Access,
    @Inject(OIDC) oidc: OidcSettings | null,
    @Inject(LOGGER) private readonly log: Logger,
  ) {
    this.rate = new CallRate(oidc?.callsPerSecond ?? null);
  }

  /** Remembers the user of each connection. A call whose connection is closed already is refused. */
  readonly interceptor: ServerInterceptor = (_method, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            if (this.remember(metadata, call.getConnectionInfo())) pass(metadata);
            else call.sendStatus({ code: status.CANCELLED, details: 'the connection is closed' });
          },
        }),
    });

  /** Refuses a call without a token, or with too low a role, before its message is read. */
  readonly accessCheck: ServerInterceptor = ({ path }, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            const grant = isOpenMethod(path) ? ANONYMOUS : this.access.byHeader(metadata.get('authorization').map(String)[0]);
            Promise.resolve(grant)
              .then((known) => this.admit(path, metadata, known))
              .then(
                () => pass(metadata),
                (error: unknown) => {
                  reportFailure(path, error, metadata);
                  call.sendStatus(toServiceError(error));
                },
              );
          },
        }),
    });

  /** Lets in a call whose caller is known. @throws EspalierError ROLE_TOO_LOW, CALLS_TOO_FAST */
  admit(path: string, metadata: Metadata, grant: Grant): void {
    if (grant.kind === 'person') this.rate.count(grant.calling.person.actor);
    this.access.requireRole(path, grant);
    this.grants.set(metadata, grant);
  }

  /** @throws EspalierError TOKEN_NEEDED where no check has let the call in */
  grantOf({ metadata }: CallInfo): Grant {
    const grant = this.grants.get(metadata);
    if (grant === undefined) throw new EspalierError('TOKEN_NEEDED', 'this call has shown no token');
    return grant;
  }

  /** Remembers the user of a connection. Returns false where the user is not known, because the connection is closed. */
  remember(metadata: Metadata, ends: ConnectionEnds): boolean {
    const peer = this.doors.peerOf(ends);
    if (peer !== undefined) this.peers.set(metadata, peer);
    return peer !== undefined;
  }

  /** Returns the context of a call that may change something, and logs the call. */
  contextOf(call: CallInfo): CallContext {
    const requestId = requestIdIn(call.metadata);
    const actor = this.actorOf(call);
    const grant = this.grantOf(call);
    const role = grant.kind === 'owner' ? (this.isOwn(call) ? 'owner' : null) : roleNameOf(grant);
    const actorName = grant.kind === 'person' ? grant.calling.person.name : undefined;
    const named = actorName === undefined ? {} : { actorName };
    this.log.info({ method: call.method, actor, ...named, requestId }, 'a command');
    return { actor, ...named, roles: role === null ? [] : [role], requestId };
  }

  /** Returns the caller's name for events. A user's name never has a colon, so neither a token nor a person can be taken for a user. */
  actorOf(call: CallInfo): string {
    const grant = this.grantOf(call);
    if (grant.kind === 'token') return `token:${grant.token.name}`;
    if (grant.kind === 'person') return grant.calling.person.actor;
    if (grant.kind === 'anonymous') return 'unknown';
    const uid = this.uidOf(call);
    return this.isOwn(call) ? ownName() : uid === undefined ? 'unknown' : nameOf(uid);
  }

  private isOwn(call: CallInfo): boolean {
    const uid = this.uidOf(call);
    return uid === undefined ? this.peers.get(call.metadata) === 'elsewhere' && this.access.asksForToken : uid === process.geteuid?.();
  }

  private uidOf({ metadata }: CallInfo): number | undefined {
    const peer = this.peers.get(metadata);
    return typeof peer === 'object' ? peer.uid : undefined;
  }
}

function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid:${process.geteuid?.() ?? 'unknown'}`; // the system has no name for the user
  }
}

function nameOf(uid: number): string {
  try {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((one) => one.split(':')[2] === String(uid));
    return line?.split(':')[0] || `uid:${uid}`;
  } catch {
    return `uid:${uid}`;
  }
}
