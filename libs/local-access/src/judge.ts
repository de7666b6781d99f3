// Finds the users of the connections that wait at a door. The kernel's tables are long, so one reading serves all waiting connections, and
// pauses leave the process most of its time at any rate of connections.
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLoopbackHost } from './loopback.js';
import { PEER_TABLES, readTable, rowOfPeer, rowsOf, type ConnectionEnds, type PeerRow, type PeerTable } from './peer-uid.js';

/** The user of a process on this machine; or another machine, where only a password or token tells. */
export type Peer = { uid: number } | 'elsewhere';

/** The pause after a reading, as a multiple of the reading's time. */
const PAUSE_FACTOR = 3;
const PAUSE_MAX_MS = 100;
/** The kernel may pass over a row while others come and go. */
const READINGS_MAX = 3;

type Tables = Map<PeerTable, ReadonlyMap<string, PeerRow>>;

interface Waiting {
  socket: Socket;
  /** Readings in which it had no row. */
  missed: number;
  /** @param peer undefined: its other end is closing or gone, so that the kernel doesn't tell */
  tell(peer: Peer | undefined): void;
}

export class Judge {
  private readonly waiting = new Set<Waiting>();
  private isReading = false;

  /** @param mostWaiting with as many, their users are looked up at once, so that they don't take the files that the process may open */
  constructor(private readonly mostWaiting: number) {}

  peerOf(socket: Socket): Promise<Peer | undefined> {
    return new Promise((resolve) => {
      this.waiting.add({ socket, missed: 0, tell: resolve });
      if (this.waiting.size >= this.mostWaiting) this.settleNow();
      else if (!this.isReading) void this.readOn();
    });
  }

  private async readOn(): Promise<void> {
    this.isReading = true;
    while (this.waiting.size > 0) {
      const beganMs = performance.now();
      // A reading tells of the connections that were there when it began.
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
      if (!this.waiting.has(one)) continue; // settled meanwhile
      const found = one.socket.destroyed ? { peer: undefined } : findIn(one.socket, tables);
      if (found === undefined && (one.missed += 1) < READINGS_MAX) continue;
      this.waiting.delete(one);
      one.tell(found?.peer);
    }
  }
}

/**
 * Nothing: no row was found. The socket is asked for its ends after the reading and not before. While it is connected, no other connection
 * has the same ends, so a row that was read before is its own.
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
