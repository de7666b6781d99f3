// Finds the user whose process answers at an address of this machine. A client should know this user before it sends anything.
import { stat } from 'node:fs/promises';
import { lookup } from 'node:dns/promises';
import { connect, type Socket } from 'node:net';
import { hostAndPort } from './loopback.js';
import { peerUid } from './peer-uid.js';

const TIMEOUT_MS = 2_000;

/**
 * Returns the users whose processes answer at a loopback address or unix socket. It contains undefined if the kernel does not tell one of
 * them.
 */
export async function serverUids(address: string): Promise<Set<number | undefined>> {
  if (address.startsWith('unix:')) return new Set([(await stat(address.slice('unix:'.length))).uid]);
  const { host, port } = hostAndPort(address);
  // A name may stand for several addresses, and a client uses any that answers.
  const places = await lookup(host, { all: true });
  const answers = await Promise.all(places.map((place) => uidAt(place.address, port)));
  const uids = answers.filter((one): one is number | undefined => !(one instanceof Error));
  if (uids.length === 0) throw answers[0] as Error;
  return new Set(uids);
}

/** Finds the user as soon as the connection is made: until the server accepts it, it has the user of the listening socket. */
function uidAt(host: string, port: number): Promise<number | undefined | Error> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ host, port, timeout: TIMEOUT_MS });
    const end = (result: number | undefined | Error): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once('connect', () => end(peerUid(socket)));
    socket.once('timeout', () => end(new Error(`${host}:${port} does not answer`)));
    socket.once('error', end);
  });
}
