import { statfsSync, type StatsFs } from 'node:fs';
import { statfs } from 'node:fs/promises';

/** A disk with less room counts as full: an append to the event store and the rows that it makes have to fit. */
export const ROOM_BYTES = 1 << 20;

/** Bytes that are left for this process where the folder lies. */
export async function roomIn(folder: string): Promise<number> {
  return roomOf(await statfs(folder));
}

export function roomInSync(folder: string): number {
  return roomOf(statfsSync(folder));
}

function roomOf({ bavail, bfree, bsize }: StatsFs): number {
  return (process.geteuid?.() === 0 ? bfree : bavail) * bsize;
}

/** True also where the room is not known: a closer look says what it is. */
export async function isFull(folder: string): Promise<boolean> {
  return (await roomIn(folder).catch(() => 0)) < ROOM_BYTES;
}
