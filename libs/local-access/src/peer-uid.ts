// Finds the user of a connection. The kernel lists both ends of a loopback connection in /proc/net/tcp, each with the user of its socket.
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';

const ESTABLISHED = '01';
const MAPPED = '::ffff:';
export const PEER_TABLES = ['/proc/net/tcp', '/proc/net/tcp6'] as const;
export type PeerTable = (typeof PEER_TABLES)[number];

/** The two ends of a connection, with the field names of sockets and gRPC calls. */
export interface ConnectionEnds {
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
  localAddress?: string | undefined;
  localPort?: number | undefined;
}

/** Returns the user at the other end of a connection; undefined: that end is not on this machine, or is closing or gone. */
export function peerUid(ends: ConnectionEnds): number | undefined {
  return PEER_TABLES.map((table) => rowOfPeer(table, rowsOf(readTable(table)), ends)).find((row) => row !== undefined)?.uid;
}

/** Tells whether this system tells the users of connections. */
export function knowsPeers(): boolean {
  return readTable(PEER_TABLES[0]).length > 0;
}

/** One end of a connection. `uid` is undefined for an end that is closing: it may have lost its owner, and would then show user 0. */
export interface PeerRow {
  uid: number | undefined;
}

/** Returns the rows of a table by their ends. */
export function rowsOf(table: Buffer): Map<string, PeerRow> {
  const rows = new Map<string, PeerRow>();
  for (const line of table.toString('latin1').split('\n')) {
    const [, local, remote, state, , , , uid] = line.trim().split(/ +/, 8);
    if (uid !== undefined) rows.set(`${local} ${remote}`, { uid: state === ESTABLISHED ? Number(uid) : undefined });
  }
  return rows;
}

/** Finds the row of the other end. */
export function rowOfPeer(table: PeerTable, rows: ReadonlyMap<string, PeerRow>, ends: ConnectionEnds): PeerRow | undefined {
  const place = endsInTables(ends).find((one) => one.table === table);
  return place === undefined ? undefined : rows.get(`${place.local} ${place.remote}`);
}

interface EndsInTable {
  table: PeerTable;
  local: string;
  remote: string;
}

/** The places where the other end's row may be. The local address of that end is this end's remote address. */
function endsInTables({ remoteAddress, remotePort, localAddress, localPort }: ConnectionEnds): EndsInTable[] {
  if (remoteAddress === undefined || remotePort === undefined || localAddress === undefined || localPort === undefined) return [];
  const [peer, own] = [remoteAddress.replace(MAPPED, ''), localAddress.replace(MAPPED, '')];
  const place = (table: PeerTable, form: (address: string) => string): EndsInTable => ({
    table,
    local: endpoint(form(peer), remotePort),
    remote: endpoint(form(own), localPort),
  });
  // A client may reach an IPv4 address through an IPv6 socket.
  return isIPv4(peer) ? [place(PEER_TABLES[0], word), place(PEER_TABLES[1], mapped)] : [place(PEER_TABLES[1], words)];
}

export function readTable(table: PeerTable): Buffer {
  try {
    return readFileSync(table);
  } catch {
    return Buffer.alloc(0); // this kernel has no IPv6
  }
}

function endpoint(address: string, port: number): string {
  return `${address}:${hex(port, 4)}`;
}

/** Writes an address as the kernel prints it, in the byte order of the machine. */
function word(address: string): string {
  const bytes = Uint8Array.from(address.split('.').map(Number));
  return hex(new Uint32Array(bytes.buffer)[0]!, 8);
}

function mapped(address: string): string {
  return words('::ffff:0:0').slice(0, 24) + word(address);
}

function words(address: string): string {
  const [head = '', tail = ''] = address.replace(/%.*$/s, '').split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const [front, back] = [groups(head), groups(tail)];
  const all = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  const bytes = Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
  return [...new Uint32Array(bytes.buffer)].map((one) => hex(one, 8)).join('');
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}
