// Decides which users may connect to the gRPC port and to the page's port: processes of the server's user and of root, which can read the
// token anyway. With TLS, and where no token is needed, every user of the machine may connect. Other machines may connect only where the
// server listens beyond this one.
import type { Server as Listener } from 'node:net';
import { Inject, Injectable } from '@nestjs/common';
import { ServerCredentials, ServerInterceptingCall, type Server, type ServerInterceptor } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import {
  isLoopbackAddress,
  isOwnUserOrRoot,
  openDoor,
  openGrpcDoor,
  type ConnectionEnds,
  type Door,
  type DoorOptions,
  type GrpcDoor,
  type Peer,
  type Refusal,
  type TlsIdentity,
  hostAndPort,
} from '#local-access';
import { EspalierError, TUNNEL_WINDOW_BYTES, v1 } from '#protocol';
import { Tallies } from '../../monitoring/tallies.js';
import { ACCESS_TOKEN, LOGGER, TLS_IDENTITY } from '../../provider-names.js';
import { isOpenMethod } from './access.js';

@Injectable()
export class Doors {
  private readonly doors: Door[] = [];
  private grpcDoor: GrpcDoor | null = null;

  constructor(
    @Inject(ACCESS_TOKEN) private readonly token: string | null,
    @Inject(TLS_IDENTITY) private readonly tls: TlsIdentity | null,
    @Inject(Tallies) private readonly tallies: Tallies,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Opens the gRPC port. Returns the address with the port that it got. @throws EspalierError LISTEN_FAILED */
  async ofGrpc(server: Server, address: string): Promise<{ address: string; door: Door }> {
    const door = await openGrpcDoor(server, ServerCredentials.createInsecure(), this.options(address, 'h2')).catch(failed(address));
    this.doors.push(door);
    this.grpcDoor = door;
    return { address: address.replace(/:\d+$/, `:${door.port}`), door };
  }

  /** Opens the page's port. @param orAnyPort whether to take another port where this one is taken. @throws EspalierError LISTEN_FAILED */
  async ofWeb(listener: Listener, address: string, orAnyPort: boolean): Promise<Door> {
    const options = this.options(address, 'http/1.1');
    const door = await openDoor(listener, options).catch((error: unknown) => {
      if (!orAnyPort || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return failed(address)(error);
      return openDoor(listener, { ...options, port: 0 });
    });
    this.doors.push(door);
    return door;
  }

  /** The user of a connection, or undefined where the connection is closed. */
  peerOf(ends: ConnectionEnds): Peer | undefined {
    return this.doors.map((door) => door.peerOf(ends)).find((peer) => peer !== undefined);
  }

  /** Marks a connection that has shown the token, or the cookie for it. It is then not closed to make room for others. */
  trust(ends: ConnectionEnds): void {
    for (const door of this.doors) door.trust(ends);
  }

  /**
   * Trusts the connections of calls that have passed the check of the token. The connection of an engine that joins gets a larger window,
   * because whole states go over it.
   */
  readonly interceptor: ServerInterceptor = ({ path }, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            if (!isOpenMethod(path)) this.trust(call.getConnectionInfo());
            if (path === v1.EngineGatewayServiceService.join.path) this.grpcDoor?.widen(call.getConnectionInfo(), TUNNEL_WINDOW_BYTES);
            pass(metadata);
          },
        }),
    });

  private options(address: string, protocol: string): DoorOptions {
    return {
      ...hostAndPort(address),
      // With TLS, a browser shows its cookie to no other user's program, since that has no certificate. So tokens tell who calls, and every
      // user may connect.
      admits: this.token === null || this.tls !== null ? () => true : isOwnUserOrRoot,
      tls: this.tls === null ? undefined : { identity: this.tls, protocol },
      otherMachines: !isLoopbackAddress(address),
      onRefused: (refusal, times) => {
        this.tallies.refusedConnections.inc({ reason: refusal.why }, times);
        this.log.warn({ ...refusal, times }, refusalWords[refusal.why]);
      },
    };
  }
}

const refusalWords: Record<Refusal['why'], string> = {
  'another-user': "a connection of another user was refused: this server is for its own user's processes",
  'unknown-user': 'a connection was refused: it was closing before its user could be told',
  'another-machine': 'a connection of another machine was refused',
  'no-tls': 'a connection was refused: its client did not speak TLS, did not take the certificate, or showed none that is taken',
  'no-room': 'a connection was refused: there is no room for more',
};

function failed(address: string): (error: unknown) => never {
  return (error) => {
    throw new EspalierError('LISTEN_FAILED', `${address} can't be served: ${listenProblem(error as Error)}`);
  };
}

function listenProblem({ message }: Error): string {
  if (message.includes('EADDRINUSE')) return 'another program listens there; name another port, or 0 for any free one';
  if (message.includes('EACCES')) return 'this user may not listen there: ports below 1024 are for root';
  if (/EADDRNOTAVAIL|ENOTFOUND|EAI_AGAIN/.test(message)) return 'this machine has no such address';
  return message;
}
