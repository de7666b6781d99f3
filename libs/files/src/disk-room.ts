import { statfsSync, type StatsFs } from 'node:fs';
import { statfs } from 'node:fs/promises';

/** A disk with less room counts as full: an append to the event store has to fit, together with the rows that views add for it. */
export const ROOM_BYTES = 1 << 20;

/** The bytes that this process can still write to the disk of the folder. */
export async function roomIn(folder: string): Promise<number> {
  return roomOf(await statfs(folder));
}

export function roomInSync(folder: string): number {
  return roomOf(statfsSync(folder));
}

/** Tells whether the disk of the folder has room, but no inode for another file. */
export function lacksInodes(folder: string): boolean {
  try {
    const { files, ffree } = statfsSync(folder);
    return files > 0 && ffree === 0;
  } catch {
    return false;
  }
}

function roomOf({ bavail, bfree, bsize }: StatsFs): number {
  return (process.geteuid?.() === 0 ? bfree : bavail) * bsize;
}

/** Returns true for a full disk, and also where the room can't be found out: the write that follows then reports the cause. */
export async function isFull(folder: string): Promise<boolean> {
  return (await roomIn(folder).catch(() => 0)) < ROOM_BYTES;
}
