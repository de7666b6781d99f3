// The windows of a gRPC server's connections. The library gives its clients an option for the bytes that may be under way, and its servers
// none: they keep HTTP/2's 64 KiB, which are 320 KiB a second at a delay of 200 ms.
import type { Http2Server, ServerHttp2Session } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/** Called for each connection, before its first call. To be asked for before the server listens. @throws TypeError: another grpc-js */
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
