// Remembers the newest event of a store that a data folder has seen, in a small file of that folder. It shows later whether the store has
// lost events: an older backup may have replaced the store, or its log may have been cut. The file is written in place at each append,
// before the caller gets its answer, so a killed process leaves it as new as the store. The file reaches the disk a moment later than the
// store's own bytes: after a power cut it may be older than the store, which does no harm.
import { closeSync, existsSync, fsync, fsyncSync, openSync, readSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { makeFolder } from '#files';
import { EventCorruptError } from '../event-store.errors.js';
import type { EventStore } from '../event-store.js';
import { endOf } from '../read-past-damage.js';

export interface SeenEvent {
  /** The event's commit position. */
  position: bigint;
  stream: string;
  revision: bigint;
  /** Null where it is unknown which try of an append was stored. */
  id: string | null;
}

export interface MissingEvents {
  seen: SeenEvent;
  /** The commit position of the last event in the store; 0 where the store is empty. */
  endPosition: bigint;
}

const FOLDER = 'seen-events';
/** The two slots are written in turn, so that a write that is torn by a power cut leaves the other slot whole. */
const SLOTS = [0, 1] as const;
const SLOT_BYTES = 512;
const SYNC_AFTER_MS = 1_000;

export class SeenEvents {
  private timer: NodeJS.Timeout | undefined;
  private nextSlot: number;
  private failed = false;

  private constructor(
    /** null: the file can't be written, so the memory ends with the process. */ private readonly descriptor: number | null,
    private newest: SeenEvent | null,
    newestSlot: number,
    private readonly onError: (error: unknown) => void,
  ) {
    this.nextSlot = 1 - newestSlot;
  }

  /** Opens the file for a store in the data folder. It is made if it is missing. */
  static open(dataFolder: string, storeName: string, onError: (error: unknown) => void = () => undefined): SeenEvents {
    const file = fileOf(dataFolder, storeName);
    try {
      makeFolder(join(dataFolder, FOLDER));
      if (!existsSync(file)) {
        writeFileSync(`${file}.new`, Buffer.alloc(SLOTS.length * SLOT_BYTES, ' '));
        renameSync(`${file}.new`, file);
      }
      const descriptor = openSync(file, 'r+');
      const { event, slot } = newestIn(descriptor);
      return new SeenEvents(descriptor, event, slot, onError);
    } catch (error) {
      onError(error); // a full disk must not stop a server from starting, since only a running server can make room
      return new SeenEvents(null, lastSeenEvent(dataFolder, storeName), 1, onError);
    }
  }

  get last(): SeenEvent | null {
    return this.newest;
  }

  /** Notes an event if it is newer than the noted one, or adds the id of the noted one. */
  note(event: SeenEvent): void {
    const { newest } = this;
    if (newest !== null && (event.position < newest.position || (event.position === newest.position && event.id === newest.id))) return;
    if (newest?.position === event.position && event.id === null) return;
    this.newest = event;
    this.write();
  }

  /** Forgets the noted event, because the user accepts the store as it is. */
  forget(): void {
    this.newest = null;
    if (this.descriptor === null) return;
    for (const slot of SLOTS) writeSync(this.descriptor, Buffer.alloc(SLOT_BYTES, ' '), 0, SLOT_BYTES, slot * SLOT_BYTES);
    fsyncSync(this.descriptor);
  }

  close(): void {
    clearTimeout(this.timer);
    if (this.descriptor === null) return;
    try {
      fsyncSync(this.descriptor);
    } catch (error) {
      this.onError(error);
    }
    closeSync(this.descriptor);
  }

  private write(): void {
    const { descriptor, newest } = this;
    if (descriptor === null || newest === null) return;
    const { position, stream, revision, id } = newest;
    const text = JSON.stringify({ position: String(position), stream, revision: String(revision), id });
    const bytes = Buffer.alloc(SLOT_BYTES, ' ');
    if (bytes.write(`${checksum(text)} ${text}`) < Buffer.byteLength(text) + CHECKSUM_LENGTH + 1) return; // a stream's long name
    try {
      writeSync(descriptor, bytes, 0, SLOT_BYTES, this.nextSlot * SLOT_BYTES);
      this.nextSlot = 1 - this.nextSlot;
      this.failed = false;
    } catch (error) {
      if (!this.failed) this.onError(error); // reported once, since each append comes here
      this.failed = true;
      return;
    }
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      fsync(descriptor, (error) => {
        if (error !== null && error.code !== 'EBADF') this.onError(error);
      });
    }, SYNC_AFTER_MS).unref();
  }
}

/** Returns the newest event that the folder has seen of a store, without opening the file for writing. */
export function lastSeenEvent(dataFolder: string, storeName: string): SeenEvent | null {
  const file = fileOf(dataFolder, storeName);
  if (!existsSync(file)) return null;
  const descriptor = openSync(file, 'r');
  try {
    return newestIn(descriptor).event;
  } finally {
    closeSync(descriptor);
  }
}

/** Returns what is missing if the store lacks the event; null: the store has it. */
export async function missingIn(store: EventStore, seen: SeenEvent): Promise<MissingEvents | null> {
  try {
    for await (const { id, revision } of store.read(seen.stream, { from: seen.revision, maxCount: 1 }))
      if (revision === seen.revision && (seen.id === null || seen.id === id)) return null;
  } catch (error) {
    if (error instanceof EventCorruptError) return null; // the event is there, and verification reports the damage
    throw error;
  }
  return { seen, endPosition: (await endOf(store))?.commit ?? 0n };
}

export function missingText({ seen: { position, stream, revision }, endPosition }: MissingEvents): string {
  const holds = endPosition < position ? '' : ', and holds other events in that place';
  return (
    `events are missing: the data folder has seen position ${position} (revision ${revision} of stream ${stream}), ` +
    `the event store ends at ${endPosition}${holds}`
  );
}

function fileOf(dataFolder: string, storeName: string): string {
  return join(dataFolder, FOLDER, storeName);
}

const CHECKSUM_LENGTH = 8;
const checksum = (text: string): string => crc32(text).toString(16).padStart(CHECKSUM_LENGTH, '0');

function newestIn(descriptor: number): { event: SeenEvent | null; slot: number } {
  let newest: { event: SeenEvent | null; slot: number } = { event: null, slot: 1 };
  for (const slot of SLOTS) {
    const bytes = Buffer.alloc(SLOT_BYTES);
    const length = readSync(descriptor, bytes, 0, SLOT_BYTES, slot * SLOT_BYTES);
    const event = parsed(bytes.toString('utf8', 0, length));
    if (event !== null && isNewer(event, newest.event)) newest = { event, slot };
  }
  return newest;
}

function isNewer(event: SeenEvent, than: SeenEvent | null): boolean {
  if (than === null) return true;
  return event.position > than.position || (event.position === than.position && than.id === null);
}

function parsed(slot: string): SeenEvent | null {
  const text = slot.slice(CHECKSUM_LENGTH + 1).trimEnd();
  if (text === '' || slot.slice(0, CHECKSUM_LENGTH) !== checksum(text)) return null;
  const { position, stream, revision, id } = JSON.parse(text) as Record<'position' | 'stream' | 'revision', string> & { id: string | null };
  return { position: BigInt(position), stream, revision: BigInt(revision), id };
}
