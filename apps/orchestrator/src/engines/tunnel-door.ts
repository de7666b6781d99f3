// Makes a joined engine reachable as an address on this machine: a socket that only this user can open, and that leads to the engine
// through the stream by which it dialled in. The socket takes one connection, since the stream carries one.
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { once } from 'node:events';
import { Channel, ChannelCredentials } from '@grpc/grpc-js';
import { EspalierError } from '#protocol';
import { recordListener, removeSocket, socketPath } from './socket-path.js';
import { ENGINE_CHANNEL } from './wire/engine-channel.js';

/** These two times together are how long a dead engine stays unnoticed, also by a standby orchestrator, which claims no engine. */
const PING_MS = 10_000;
const PING_TIMEOUT_MS = 20_000;
const NEVER_MS = 2 ** 31 - 1;

export class TunnelDoor {
  private socket: Socket | null = null;

  private constructor(
    readonly address: string,
    /** The one connection to the engine, which all clients share. */
    readonly channel: Channel,
    private readonly listener: Server,
    private readonly tunnel: Duplex,
  ) {
    listener.once('connection', (socket: Socket) => this.join(socket));
    listener.on('connection', (socket: Socket) => {
      if (socket !== this.socket) socket.destroy();
    });
    tunnel.once('close', () => this.close());
  }

  /** @param folder the folder for the socket. @throws EspalierError ENGINE_UNAVAILABLE */
  static async open(tunnel: Duplex, folder: string): Promise<TunnelDoor> {
    const path = socketPath(folder);
    const listener = createServer();
    try {
      listener.listen(path);
      await once(listener, 'listening');
    } catch (error) {
      throw new EspalierError('ENGINE_UNAVAILABLE', `the engine can't be reached: ${(error as Error).message}`, { cause: error });
    }
    listener.on('error', () => undefined); // the channel tries again after a failed accept
    recordListener(folder, path, process.pid);
    listener.once('close', () => removeSocket(folder, path));
    const channel = new Channel(`unix:${path}`, ChannelCredentials.createInsecure(), {
      ...ENGINE_CHANNEL,
      'grpc.keepalive_time_ms': PING_MS,
      'grpc.keepalive_timeout_ms': PING_TIMEOUT_MS,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.client_idle_timeout_ms': NEVER_MS,
    });
    return new TunnelDoor(`unix:${path}`, channel, listener, tunnel);
  }

  close(): void {
    this.channel.close();
    this.socket?.destroy();
    this.tunnel.destroy();
    if (this.listener.listening) this.listener.close();
  }

  private join(socket: Socket): void {
    this.socket = socket;
    // When either end closes, the other closes, too. An error of one must not become an error of the server.
    socket.on('error', () => undefined).once('close', () => this.close());
    this.tunnel.on('error', () => undefined);
    socket.pipe(this.tunnel).pipe(socket);
  }
}
