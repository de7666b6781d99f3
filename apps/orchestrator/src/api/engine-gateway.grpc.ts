// EngineGatewayService: the entrance for engines that dial in. It checks the caller and the engine's name, and hands the stream on.
import { Inject, Injectable } from '@nestjs/common';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { ownVersion } from '#files';
import {
  ByteTunnel,
  EspalierError,
  invalidField,
  releaseOf,
  reportFailure,
  requireRelease,
  toServiceError,
  v1,
  type CallInfo,
} from '#protocol';
import { JoinedEngines } from '../engine-pool/joined-engines.js';
import { Access } from './admission/access.js';
import type { Hold } from '../logins/person-calls.js';
import { Callers } from './admission/callers.js';

/** The longest time from the call to its first message. */
const HELLO_TIMEOUT_MS = 10_000;

type JoinCall = ServerDuplexStream<v1.JoinRequest, v1.JoinResponse>;

@Injectable()
export class EngineGatewayGrpc {
  constructor(
    @Inject(JoinedEngines) private readonly joined: JoinedEngines,
    @Inject(Access) private readonly access: Access,
    @Inject(Callers) private readonly callers: Callers,
  ) {}

  handlers(): v1.EngineGatewayServiceServer {
    return { join: (call) => void this.join(call) };
  }

  private async join(call: JoinCall): Promise<void> {
    const info: CallInfo = { method: call.getPath(), metadata: call.metadata };
    let isRefused = false;
    const refuse = (error: unknown): void => {
      if (isRefused || call.cancelled) return;
      isRefused = true;
      reportFailure(info.method, error, info.metadata);
      call.emit('error', toServiceError(error));
    };
    call.on('error', () => undefined);
    let hold: Hold | undefined;
    try {
      const grant = this.callers.grantOf(info);
      this.access.requireRole(info.method, grant);
      hold = this.access.hold(grant);
      const end = hold?.signal;
      end?.throwIfAborted();
      const { name, instance, host, release } = helloIn(await firstMessage(call));
      const arrival = { name, instance, host, peer: call.getPeer(), admittedAs: this.callers.actorOf(info) };
      this.joined.requireRoom(arrival);
      requireRelease(`engine ${name}`, release, releaseOf(ownVersion()));
      const tunnel = this.tunnel(name, call, refuse);
      const revoked = (): void => {
        this.joined.leaves(name, tunnel); // the engine's process ends and does not come back
        refuse(end?.reason);
        tunnel.destroy();
      };
      end?.throwIfAborted();
      end?.addEventListener('abort', revoked);
      call.write({ welcome: true, piece: Buffer.alloc(0) });
      try {
        await this.joined.arrive(arrival, tunnel);
      } finally {
        end?.removeEventListener('abort', revoked);
      }
    } catch (error) {
      refuse(error);
    } finally {
      hold?.release();
    }
  }

  private tunnel(name: string, call: JoinCall, refuse: (error: unknown) => void): ByteTunnel {
    let isLeaving = false;
    const end = (error: Error | null): void => {
      if (isLeaving) call.end();
      else refuse(error ?? givenUp());
    };
    const tunnel: ByteTunnel = new ByteTunnel(call, {
      bytesIn: ({ hello, piece, leaving }: v1.JoinRequest) => {
        if (hello !== undefined) throw invalidField('REQUEST_INVALID', 'hello', 'is set: it belongs in the first message and in no other');
        if (leaving) this.joined.leaves(name, tunnel);
        isLeaving ||= leaving;
        return piece;
      },
      messageOf: (piece) => v1.JoinResponse.fromPartial({ piece }),
      finish: () => end(null),
      abandon: end,
    });
    tunnel.on('error', () => undefined);
    return tunnel;
  }
}

function givenUp(): EspalierError {
  return new EspalierError('ENGINE_LOST', 'the connection to the engine was given up: it may join again');
}

function helloIn({ hello, piece }: v1.JoinRequest): v1.JoinHello {
  if (hello === undefined) throw invalidField('FIELD_REQUIRED', 'hello', 'is missing: the first message says who joins');
  if (piece.byteLength > 0) throw invalidField('REQUEST_INVALID', 'piece', 'is set: the first message says who joins, and nothing else');
  return hello;
}

function firstMessage(call: JoinCall): Promise<v1.JoinRequest> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new EspalierError('REQUEST_INVALID', `the engine did not say who it is within ${HELLO_TIMEOUT_MS / 1_000} s`)),
      HELLO_TIMEOUT_MS,
    );
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      call.pause();
      act();
    };
    call.once('data', (message: v1.JoinRequest) => settle(() => resolve(message)));
    call.once('end', () => settle(() => reject(new EspalierError('REQUEST_INVALID', 'the stream ended before its first message'))));
    call.once('cancelled', () => settle(() => reject(new EspalierError('CANCELLED', 'the engine went away'))));
  });
}
