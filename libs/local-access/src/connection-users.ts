// Finds the users of the connections that wait at a door. The kernel's tables are long, so one reading serves all waiting connections.
// Pauses between readings leave the process most of its time, however many connections arrive.
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLoopbackHost } from './loopback.js';
import { PEER_TABLES, readTable, rowOfPeer, rowsOf, type ConnectionEnds, type PeerRow, type PeerTable } from './peer-uid.js';

/** The user of a process on this machine; 'elsewhere' is another machine, whose users are only known by a password or token. */
export type Peer = { uid: number } | 'elsewhere';

/** The pause after a reading, as a multiple of the time that the reading took. */
const PAUSE_FACTOR = 3;
const PAUSE_MAX_MS = 100;
/** The most readings for a connection. The kernel may leave out a row while other connections come and go. */
const READINGS_MAX = 3;

type Tables = Map<PeerTable, ReadonlyMap<string, PeerRow>>;

interface Waiting {
  socket: Socket;
  /** The number of readings without a row for this connection. */
  missed: number;
  /** @param peer undefined: the other end is closing or gone, so the kernel does not tell its user */
  answer(peer: Peer | undefined): void;
}

export class ConnectionUsers {
  private readonly waiting = new Set<Waiting>();
  private isReading = false;

  /**
   * @param mostWaiting with this number of waiting connections, their users are looked up at once, so that the connections don't use up the
   * process's file descriptors
   */
  constructor(private readonly mostWaiting: number) {}

  peerOf(socket: Socket): Promise<Peer | undefined> {
    return new Promise((resolve) => {
      this.waiting.add({ socket, missed: 0, answer: resolve });
      if (this.waiting.size >= this.mostWaiting) this.settleNow();
      else if (!this.isReading) void this.readOn();
    });
  }

  private async readOn(): Promise<void> {
    this.isReading = true;
    while (this.waiting.size > 0) {
      const beganMs = performance.now();
      // A reading only covers the connections that existed when it began.
      const asked = [...this.waiting];
      const tables: Tables = new Map();
      for (const table of PEER_TABLES) tables.set(table, rowsOf(await readFile(table).catch(() => Buffer.alloc(0))));
      this.settle(asked, tables);
      await sleep(Math.min(PAUSE_FACTOR * (performance.now() - beganMs), PAUSE_MAX_MS), undefined, { ref: false });
    }
    this.isReading = false;
  }

  private settleNow(): void {
    this.settle([...this.waiting], new Map(PEER_TABLES.map((table) => [table, rowsOf(readTable(table))])));
  }

  private settle(asked: Waiting[], tables: Tables): void {
    for (const one of asked) {
      if (!this.waiting.has(one)) continue; // it was settled meanwhile
      const found = one.socket.destroyed ? { peer: undefined } : findIn(one.socket, tables);
      if (found === undefined && (one.missed += 1) < READINGS_MAX) continue;
      this.waiting.delete(one);
      one.answer(found?.peer);
    }
  }
}

/**
 * Finds the user of a socket, or returns undefined where no row was found. The socket is asked for its addresses after the tables were
 * read. While it is connected, no other connection has the same addresses, so a row that was read earlier belongs to it.
 */
function findIn(socket: Socket, tables: Tables): { peer: Peer | undefined } | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (remoteAddress === undefined) return { peer: undefined };
  const ends = { remoteAddress, remotePort, localAddress, localPort };
  if (!isOfThisMachine(ends)) return { peer: 'elsewhere' };
  for (const [table, rows] of tables) {
    const row = rowOfPeer(table, rows, ends);
    if (row !== undefined) return { peer: row.uid === undefined ? undefined : { uid: row.uid } };
  }
  return undefined;
}

function isOfThisMachine({ remoteAddress = '', localAddress = '' }: ConnectionEnds): boolean {
  const address = remoteAddress.replace('::ffff:', '').replace(/%.*/, '');
  if (remoteAddress === localAddress || isLoopbackHost(address)) return true;
  return Object.values(networkInterfaces()).some((all) => all?.some((one) => one.address === address));
}
