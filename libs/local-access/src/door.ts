// The door of a server. It finds the user of each connection once, when the connection arrives, before it reads a byte. It refuses a
// connection whose user the kernel does not tell. The number of connections is limited, and a connection that has shown no token yet is
// closed to make room for a new one.
import { readFileSync } from 'node:fs';
import type { ServerHttp2Session } from 'node:http2';
import { createServer, type AddressInfo, type Server as Listener, type Socket } from 'node:net';
import type { Server, ServerCredentials } from '@grpc/grpc-js';
import { ConnectionUsers, type Peer } from './connection-users.js';
import { watchSessions, widen } from './http2-sessions.js';
import { ReportLimiter } from './report-limiter.js';
import { knowsPeers, type ConnectionEnds } from './peer-uid.js';
import type { TlsIdentity } from './tls-identity.js';

const ROOT_UID = 0;
const CONNECTIONS_MAX = 512;
/** The open files of the process per connection, so that a process with a low limit keeps most of its files for its work. */
const FILES_PER_CONNECTION = 4;

/**
 * The reason of a refusal. unknown-user: the other end is closing or gone, so the kernel does not tell its user. no-room: every open
 * connection is trusted. no-tls: the client does not speak TLS, does not accept the server's certificate, or shows no certificate that the
 * server accepts.
 */
export type Refusal =
  | { why: 'another-user'; uid: number }
  | { why: 'no-tls'; problem: string }
  | { why: 'unknown-user' | 'another-machine' | 'no-room' };

export interface DoorOptions {
  host: string;
  /** The port; 0 picks a free one. */
  port: number;
  /** Tells whether a user of this machine is admitted. */
  admits: (uid: number) => boolean;
  /** Whether connections of other machines are admitted, if the host lets them arrive. */
  otherMachines: boolean;
  connectionsMax?: number;
  /** The certificate for TLS, and ALPN's name of the protocol over it; undefined: no TLS. */
  tls?: { identity: TlsIdentity; protocol: string } | undefined;
  /** Called at most once a second for each reason and user, with the last refusal and the number of refusals. */
  onRefused?: (refusal: Refusal, times: number) => void;
}

export interface Door {
  port: number;
  /** Returns the user at the other end of an open connection; undefined: the connection did not come through this door, or is closed. */
  peerOf(ends: ConnectionEnds): Peer | undefined;
  /** Marks a connection that has shown the token, or whatever the server asks for. It is never closed to make room. */
  trust(ends: ConnectionEnds): void;
  /** Accepts no more connections. Open connections stay. */
  close(): void;
}

/** Tells whether the user is this process's user. */
export function isOwnUser(uid: number): boolean {
  return uid === process.geteuid?.();
}

/** Tells whether the user is this process's user or root, which can read this user's files anyway. */
export function isOwnUserOrRoot(uid: number): boolean {
  return uid === ROOT_UID || isOwnUser(uid);
}

/** Starts to listen. @param listener the server, which gets only the admitted connections */
export async function openDoor(listener: Listener, options: DoorOptions): Promise<Door> {
  const { host, port, connectionsMax = connectionsAllowed() } = options;
  if (!knowsPeers()) throw new Error("this system doesn't say whose a connection is: /proc/net/tcp can't be read");
  const room = new Room(connectionsMax);
  const users = new ConnectionUsers(connectionsMax);
  const refusals = new ReportLimiter<Refusal>((refusal, times) => options.onRefused?.(refusal, times));
  const refuse = (socket: Socket, refusal: Refusal): void => {
    socket.destroy();
    refusals.add(refusal.why === 'another-user' ? `user ${refusal.uid}` : refusal.why, refusal);
  };
  const meet = async (socket: Socket): Promise<void> => {
    socket.on('error', () => undefined); // the server learns of the error when the socket closes
    const peer = await users.peerOf(socket);
    const refusal = refusalOf(peer, options);
    if (refusal !== undefined) refuse(socket, refusal);
    else if (!room.admit(socket, peer!)) refuse(socket, { why: 'no-room' });
    else secure(socket);
  };
  await listen(listener, host, port);
  // The kernel keeps what a client sends until its connection is admitted.
  (listener as Listener & { pauseOnConnect: boolean }).pauseOnConnect = true;
  const inside = listener.listeners('connection') as ((socket: Socket) => void)[];
  listener.removeAllListeners('connection');
  const enter = (socket: Socket): void => {
    for (const one of inside) one.call(listener, socket);
    socket.resume();
  };
  const failed = (socket: Socket, problem: string): void => refuse(socket, { why: 'no-tls', problem });
  const secure = options.tls === undefined ? enter : options.tls.identity.acceptor(options.tls.protocol, enter, failed);
  listener.on('connection', (socket: Socket) => void meet(socket));
  return {
    port: (listener.address() as AddressInfo).port,
    peerOf: (ends) => room.peerOf(ends),
    trust: (ends) => room.trust(ends),
    close: () => listener.close(),
  };
}

export interface GrpcDoor extends Door {
  /**
   * Lets the client of a connection have more bytes under way, which the server may have to keep in memory. So it is only for clients that
   * have shown their token.
   */
  widen(ends: ConnectionEnds, windowBytes: number): void;
}

/** Opens a door in front of a gRPC server. */
export async function openGrpcDoor(server: Server, credentials: ServerCredentials, options: DoorOptions): Promise<GrpcDoor> {
  const sessions = new Map<string, ServerHttp2Session>();
  watchSessions(server, (session) => {
    const key = keyOf(session.socket);
    sessions.set(key, session);
    session.once('close', () => {
      if (sessions.get(key) === session) sessions.delete(key);
    });
  });
  const connections = server.createConnectionInjector(credentials);
  const listener = createServer({ noDelay: true }, (socket) => connections.injectConnection(socket));
  const door = await openDoor(listener, options);
  return {
    ...door,
    widen(ends, windowBytes) {
      const session = sessions.get(keyOf(ends));
      if (session !== undefined) widen(session, windowBytes);
    },
  };
}

function listen(listener: Listener, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ host, port }, () => {
      listener.off('error', reject);
      // A later error, such as a failed accept when there are no more file descriptors, must not end the process.
      listener.on('error', () => undefined);
      resolve();
    });
  });
}

function refusalOf(peer: Peer | undefined, { admits, otherMachines }: DoorOptions): Refusal | undefined {
  if (peer === undefined) return { why: 'unknown-user' };
  if (peer === 'elsewhere') return otherMachines ? undefined : { why: 'another-machine' };
  return admits(peer.uid) ? undefined : { why: 'another-user', uid: peer.uid };
}

/** The open connections. It decides which one has to close when there are too many. */
class Room {
  private readonly trusted = new Map<string, { socket: Socket; peer: Peer }>();
  /** The connections that are not trusted, the oldest first. */
  private readonly others = new Map<string, { socket: Socket; peer: Peer }>();

  constructor(private readonly most: number) {}

  admit(socket: Socket, peer: Peer): boolean {
    if (this.trusted.size + this.others.size >= this.most) {
      const [oldest] = this.others;
      if (oldest === undefined) return false;
      this.others.delete(oldest[0]);
      oldest[1].socket.destroy();
    }
    const key = keyOf(socket);
    const connection = { socket, peer };
    this.others.set(key, connection);
    socket.once('close', () => {
      for (const part of [this.trusted, this.others]) if (part.get(key) === connection) part.delete(key);
    });
    return true;
  }

  peerOf(ends: ConnectionEnds): Peer | undefined {
    const key = keyOf(ends);
    return (this.trusted.get(key) ?? this.others.get(key))?.peer;
  }

  trust(ends: ConnectionEnds): void {
    const key = keyOf(ends);
    const connection = this.others.get(key);
    if (connection === undefined) return;
    this.others.delete(key);
    this.trusted.set(key, connection);
  }
}

function keyOf({ remoteAddress, remotePort, localAddress, localPort }: ConnectionEnds): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

function connectionsAllowed(): number {
  const [, files = ''] = /^Max open files +(\d+)/m.exec(limits()) ?? [];
  return Math.min(CONNECTIONS_MAX, files === '' ? Infinity : Math.floor(Number(files) / FILES_PER_CONNECTION));
}

function limits(): string {
  try {
    return readFileSync('/proc/self/limits', 'latin1');
  } catch {
    return '';
  }
}
