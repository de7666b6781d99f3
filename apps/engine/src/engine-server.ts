// The gRPC server around the service: binding, health checks, and a stop that loses no answers.
import { chmodSync, existsSync, unlinkSync } from 'node:fs';
import type { ServerHttp2Stream } from 'node:http2';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { Server, ServerCredentials, type ConnectionInjector } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { hostAndPort, isLoopbackAddress, isOwnUser, openGrpcDoor, watchSessions, widen, type Door } from '#local-access';
import { engineV1, TUNNEL_WINDOW_BYTES } from '#protocol';
import { claimCheck, type EngineLease } from './engine-lease.js';

const SERVICE_NAME = 'espalier.engine.v1.EngineService';
const MESSAGE_BYTES_MAX = 64 << 20; // a chunk has 1 MiB, but the list of a segment's steps may be longer
const DRAIN_MS = 3_000; // the time for calls that are still being answered at the end
/** The same time for an engine that dialled in: a segment and its state may need longer on a slow connection. */
const HAND_IN_MS = 20_000;

export class EngineServer {
  private readonly server: Server;
  private listener: Door | undefined;
  private connections: ConnectionInjector | undefined;
  /** The calls that are being answered. */
  private readonly open = new Set<ServerHttp2Stream>();
  private answered: () => void = () => undefined;
  private readonly health = new HealthImplementation({ '': 'SERVING', [SERVICE_NAME]: 'SERVING' });

  constructor(service: engineV1.EngineServiceServer, lease: EngineLease) {
    this.server = new Server({
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
      interceptors: [claimCheck(lease)],
    });
    watchSessions(this.server, (session) => {
      widen(session, TUNNEL_WINDOW_BYTES); // models and states may come from far away
      session.on('stream', (stream) => this.watch(stream));
    });
    this.server.addService(engineV1.EngineServiceService, service);
    this.health.addToServer(this.server);
  }

  /** Serves the client at the other end of a stream of bytes. */
  serve(connection: Duplex): void {
    this.connections ??= this.server.createConnectionInjector(ServerCredentials.createInsecure());
    this.connections.injectConnection(connection);
  }

  /** Listens, and returns the address with the actual port. */
  async listen(address: string): Promise<string> {
    const socket = address.startsWith('unix:') ? address.slice('unix:'.length) : undefined;
    if (socket !== undefined) await removeDeadSocket(socket);
    else if (isLoopbackAddress(address)) return this.listenForUser(address);
    const port = await new Promise<number>((resolve, reject) => {
      this.server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    if (socket === undefined) return address.replace(/:\d+$/, `:${port}`);
    chmodSync(socket, 0o600); // a user who can write to it can read any model folder of this user
    return address;
  }

  /** Serves only processes of its own user, because a client of an engine can read any model folder of that user. */
  private async listenForUser(address: string): Promise<string> {
    this.listener = await openGrpcDoor(this.server, ServerCredentials.createInsecure(), {
      ...hostAndPort(address),
      admits: isOwnUser,
      otherMachines: false,
    });
    return address.replace(/\d+$/, String(this.listener.port));
  }

  /**
   * Stops the server. Health checks get NOT_SERVING at once. Then `finishWork` ends the running work, and calls get a moment to be
   * answered.
   * @param farewell called before a connection that was handed to the server ends, whose other end may still be reading the last answers
   */
  async stop(finishWork: () => Promise<void>, farewell: () => Promise<void> | undefined): Promise<void> {
    this.health.setStatus('', 'NOT_SERVING');
    this.health.setStatus(SERVICE_NAME, 'NOT_SERVING');
    this.listener?.close();
    await finishWork();
    if (this.connections !== undefined) await this.allAnswered();
    await farewell();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.server.forceShutdown();
        resolve();
      }, DRAIN_MS);
      this.server.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  private watch(stream: ServerHttp2Stream): void {
    this.open.add(stream);
    stream.once('close', () => {
      this.open.delete(stream);
      if (this.open.size === 0) this.answered();
    });
  }

  private async allAnswered(): Promise<void> {
    if (this.open.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, HAND_IN_MS);
      this.answered = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Removes the socket of a killed engine, which would block the address. The socket of a living engine stays. */
async function removeDeadSocket(path: string): Promise<void> {
  if (!existsSync(path)) return;
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
  if (!answered) unlinkSync(path);
}
