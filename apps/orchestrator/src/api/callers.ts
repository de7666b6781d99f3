// Who asks, as events record it. Nobody logs in: who shows the token is the server's own user, unless the kernel says that the
// connection is another local user's.
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import type { Metadata, ServerInterceptor } from '@grpc/grpc-js';
import { ServerInterceptingCall } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { peerUid, type ConnectionEnds } from '#local-access';
import { requestIdIn, type CallInfo } from '#protocol';
import type { CallContext } from '../event-sourcing/call-context.js';
import { ACCESS_TOKEN, LOGGER } from '../tokens.js';

@Injectable()
export class Callers {
  private readonly connections = new WeakMap<Metadata, ConnectionEnds>();

  constructor(
    @Inject(ACCESS_TOKEN) private readonly token: string | null,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Remembers whose connection each call comes by. */
  readonly interceptor: ServerInterceptor = (_method, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            this.remember(metadata, call.getConnectionInfo());
            pass(metadata);
          },
        }),
    });

  remember(metadata: Metadata, ends: ConnectionEnds): void {
    this.connections.set(metadata, ends);
  }

  /** The context of a call that may change something. A log line says that the call was made. */
  contextOf({ method, metadata }: CallInfo): CallContext {
    const ends = this.connections.get(metadata);
    const uid = ends === undefined ? undefined : peerUid(ends);
    const own = process.geteuid?.();
    const isOwn = uid === undefined ? this.token !== null : uid === own;
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
