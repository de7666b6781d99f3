// The kernel knows whose a connection is: /proc/net/tcp lists both ends of one over loopback, each with the user of its socket.
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';

const ESTABLISHED = '01';
const MAPPED = '::ffff:';

/** The two ends of a connection, with the names that sockets and gRPC calls give them. */
export interface ConnectionEnds {
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
  localAddress?: string | undefined;
  localPort?: number | undefined;
}

/** Who opened a connection that we accepted; undefined when its other end is not on this machine, or no longer there. */
export function peerUid({ remoteAddress, remotePort, localAddress, localPort }: ConnectionEnds): number | undefined {
  if (remoteAddress === undefined || remotePort === undefined || localAddress === undefined || localPort === undefined) return undefined;
  const [peer, own] = [remoteAddress, localAddress].map((address) => address.replace(MAPPED, ''));
  if (isIPv4(peer!)) {
    // A client may reach an IPv4 address through an IPv6 socket.
    return (
      ownerOf('/proc/net/tcp', endpoint(word(peer!), remotePort), endpoint(word(own!), localPort)) ??
      ownerOf('/proc/net/tcp6', endpoint(mapped(peer!), remotePort), endpoint(mapped(own!), localPort))
    );
  }
  return ownerOf('/proc/net/tcp6', endpoint(words(peer!), remotePort), endpoint(words(own!), localPort));
}

/** A connection that is closing may have lost its owner and then shows user 0, so that only whole ones count. */
function ownerOf(table: string, local: string, remote: string): number | undefined {
  for (const line of readTable(table).split('\n')) {
    const [, localEnd, remoteEnd, state, , , , uid] = line.trim().split(/\s+/);
    if (localEnd === local && remoteEnd === remote && state === ESTABLISHED) return Number(uid);
  }
  return undefined;
}

function readTable(table: string): string {
  try {
    return readFileSync(table, 'latin1');
  } catch {
    return ''; // a kernel without IPv6
  }
}

function endpoint(address: string, port: number): string {
  return `${address}:${hex(port, 4)}`;
}

/** In the byte order of the machine, as the kernel prints addresses. */
function word(address: string): string {
  const bytes = Uint8Array.from(address.split('.').map(Number));
  return hex(new Uint32Array(bytes.buffer)[0]!, 8);
}

function mapped(address: string): string {
  return words('::ffff:0:0').slice(0, 24) + word(address);
}

function words(address: string): string {
  const [head = '', tail = ''] = address.split('%')[0]!.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const [front, back] = [groups(head), groups(tail)];
  const all = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  const bytes = Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
  return [...new Uint32Array(bytes.buffer)].map((one) => hex(one, 8)).join('');
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}
