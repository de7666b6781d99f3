// A gRPC server that takes connections of its own user's processes only. Nothing is asked of a client, and nothing of a call:
// a connection is looked at once, when it comes in.
import { createServer, type AddressInfo } from 'node:net';
import { ServerCredentials, type Server } from '@grpc/grpc-js';
import { peerUid } from './peer-uid.js';

export interface SameUserListener {
  port: number;
  /** Takes no more connections; those that are there end with the gRPC server. */
  close(): void;
}

/** @param onRefused told whose connection was refused; undefined: of another machine */
export function listenForSameUser(
  server: Server,
  { host, port }: { host: string; port: number },
  onRefused: (uid: number | undefined) => void = () => undefined,
): Promise<SameUserListener> {
  const connections = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createServer({ noDelay: true, pauseOnConnect: false }, (socket) => {
    socket.on('error', () => undefined); // the gRPC server learns of it by the close
    const uid = peerUid(socket);
    if (uid !== undefined && uid === process.geteuid?.()) return connections.injectConnection(socket);
    onRefused(uid);
    socket.destroy();
  });
  return new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ host, port }, () => {
      listener.off('error', reject);
      resolve({ port: (listener.address() as AddressInfo).port, close: () => listener.close() });
    });
  });
}
