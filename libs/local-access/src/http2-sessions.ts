// Sets the windows of a gRPC server's connections. The library has an option for clients that sets how many bytes may be under way, but
// none for servers. These keep HTTP/2's 64 KiB, which allow 320 KiB a second at a delay of 200 ms.
import type { Http2Server, ServerHttp2Session } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/**
 * Calls `came` for each connection, before its first call. Must be called before the server listens. @throws TypeError if grpc-js makes its
 * servers in another way
 */
export function watchSessions(server: Server, came: (session: ServerHttp2Session) => void): void {
  const inside = server as unknown as { createHttp2Server?: (...args: unknown[]) => Http2Server };
  const make = inside.createHttp2Server;
  if (typeof make !== 'function') throw new TypeError('this release of grpc-js makes its HTTP/2 servers in another way');
  inside.createHttp2Server = (...args) => make.apply(server, args).on('session', came);
}

export function widen(session: ServerHttp2Session, windowBytes: number): void {
  if (session.destroyed || session.closed) return;
  session.settings({ initialWindowSize: windowBytes });
  session.setLocalWindowSize(windowBytes);
}
