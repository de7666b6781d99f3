// The caller of a command, as events record it. There is no login: when a connection came, the kernel said which local user it belongs to.
// A client on another machine that shows the token counts as the server's own user.
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import type { Metadata, ServerInterceptor } from '@grpc/grpc-js';
import { ServerInterceptingCall, status } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import type { ConnectionEnds, Peer } from '#local-access';
import { requestIdIn, type CallInfo } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import { ACCESS_TOKEN, LOGGER } from '../tokens.js';
import { Doors } from './doors.js';

@Injectable()
export class Callers {
  private readonly peers = new WeakMap<Metadata, Peer>();

  constructor(
    @Inject(ACCESS_TOKEN) private readonly token: string | null,
    @Inject(Doors) private readonly doors: Doors,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

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

  /** Whether the user of the connection is known. The user of a closed connection is not known any more. */
  remember(metadata: Metadata, ends: ConnectionEnds): boolean {
    const peer = this.doors.peerOf(ends);
    if (peer !== undefined) this.peers.set(metadata, peer);
    return peer !== undefined;
  }

  /** The context of a call that may change something. A log line says that the call was made. */
  contextOf({ method, metadata }: CallInfo): CallContext {
    const peer = this.peers.get(metadata);
    const uid = typeof peer === 'object' ? peer.uid : undefined;
    const isOwn = uid === undefined ? peer === 'elsewhere' && this.token !== null : uid === process.geteuid?.();
    const actor = isOwn ? ownName() : uid === undefined ? 'unknown' : nameOf(uid);
    const context = { actor, roles: isOwn ? ['owner'] : [], requestId: requestIdIn(metadata) };
    this.log.info({ method, actor, requestId: context.requestId }, 'a command');
    return context;
  }
}

function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid:${process.geteuid?.() ?? 'unknown'}`; // the system has no name for it
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
