// Keeps segments on the disk of the engine, each from its end until it is recorded (docs/design/joined-engines.md). A segment's name
// follows from everything that decides its bits, so a new process can hand out a segment that an earlier process trained. Several engines
// may share a folder: each has a place of its own in it, and takes over the segments of places whose process has ended.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { Logger } from 'pino';
import { byteWords } from '#comparison';
import { clearUnfinishedFiles, roomInSync, unfinishedName } from '#files';
import type { SegmentResult, StepReport } from '#native-engine';
import { EspalierError } from '#protocol';
import { digestInPieces } from '../calls/chunks.js';
import { openOwnFolder, type Mark } from '../shared-folder.js';
import { Place } from './process-place.js';

const MARK: Mark = {
  file: 'espalier-segments',
  text: 'Segments that engines of Espalier have trained, until their server has recorded them.\n',
  require: requireOwn,
};
const DIGEST_BYTES = 32;
const ENTRY = /^([0-9a-f]{64})\.(segment|state)$/;
const LEFT_OVER = { before: /\.[0-9a-f]{64}\.(?:segment|state)\./, after: '.incoming' };
/** The folder leaves this much of its disk free. */
const LEAVES_FREE_BYTES = 1024 ** 3;
/** A segment for which no server has asked for this time is discarded at the next start. */
const KEPT_FOR_MS = 7 * 86_400_000;
const PIECE_BYTES = 64 << 20;
const OTHERS_WRITE = 0o022;

/** A segment as it is kept: the request for it, and its results. */
export interface KeptSegment {
  run: string;
  /** The request for the segment as a text. A kept segment is handed out only for a request with an equal text. */
  asked: string;
  steps: StepReport[];
  result: SegmentResult;
}

interface Entry {
  name: string;
  bytes: number;
  keptAtMs: number;
}

/** The engines of a user share it. */
export function usualSegmentFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'espalier', 'spool');
}

/** The files of the folder go into the records of runs, so no other user may write there. */
function requireOwn(folder: string): void {
  const { uid, mode } = statSync(folder);
  if (uid !== process.getuid!())
    throw new Error(`it belongs to user ${uid}, who could put other results there: a folder of your own is allowed`);
  if ((mode & OTHERS_WRITE) !== 0) throw new Error('other users may write to it, and could put other results there: chmod go-w');
}

export class KeptSegments {
  /**
   * The end of the work under way. One call at a time touches the files, in the order of the calls. So a segment is looked for when it is
   * whole, and removed after it was written.
   */
  private last: Promise<unknown> = Promise.resolve();
  /** The segments of this process that are not recorded, in their order, with the states that they end in. */
  private unrecorded: { name: string; state: string }[] = [];
  /** The runs of the segments that are here, and the steps that these end with. */
  private readonly ends = new Map<string, { run: string; step: number }>();
  private isTold = false;

  private constructor(
    private readonly place: Place,
    private readonly limitBytes: number,
    private readonly log: Pick<Logger, 'info' | 'warn' | 'debug'>,
  ) {}

  private get folder(): string {
    return this.place.folder;
  }

  /** Makes the folder if it is not there. @throws EspalierError SPOOL_UNUSABLE */
  static open(path: string, limitBytes: number, log: Pick<Logger, 'info' | 'warn' | 'debug'>): KeptSegments {
    try {
      const segments = new KeptSegments(Place.in(openOwnFolder(path, MARK)), limitBytes, log);
      clearUnfinishedFiles(segments.folder, LEFT_OVER);
      for (const { name } of segments.entries()) segments.noteEnd(name);
      segments.takeOver();
      segments.removeOld();
      return segments;
    } catch (error) {
      throw new EspalierError('SPOOL_UNUSABLE', `the folder for segments ${resolve(path)} can't be used: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  /** Gives up its place, as the end of the process does. */
  close(): void {
    this.place.release();
  }

  /** Resolves with null if the segment is not here or is damaged: then it is trained again. Never rejects. */
  find(name: string): Promise<KeptSegment | null> {
    return this.inTurn(async () => {
      try {
        if (!existsSync(this.file(name, 'segment'))) this.takeOver();
      } catch (error) {
        this.tellOnce({ err: error }, `the folder for segments can't be read, so they are trained again: ${(error as Error).message}`);
      }
      if (!existsSync(this.file(name, 'segment'))) return null;
      try {
        return await this.read(name);
      } catch (error) {
        this.log.warn({ segment: name, err: error }, 'a segment that was kept is damaged: it is removed, and trained again');
        await this.remove(name);
        return null;
      }
    });
  }

  /** The segment was handed out, and stays here until it is recorded. */
  noteHandedOut(name: string, state: string): void {
    this.unrecorded.push({ name, state });
  }

  /** Never rejects: a segment that can't be kept is handed in all the same. */
  keep(name: string, { run, asked, steps, result }: KeptSegment): Promise<void> {
    return this.inTurn(async () => {
      const { stateBytes, ...rest } = result;
      if (stateBytes === null) return;
      const facts = serialize({ run, asked, steps, result: rest, bytes: stateBytes.byteLength });
      // This segment is noted even if it can't be kept: once the server has recorded it, the kept segments before it are removed.
      this.unrecorded.push({ name, state: result.state.digest });
      const bytes = facts.byteLength + DIGEST_BYTES + stateBytes.byteLength;
      try {
        const missing = this.makeRoom(bytes, name);
        if (missing > 0) {
          this.tellOnce(
            { bytes, missing },
            `the folder for segments ${this.folder} lacks ${byteWords(missing)} for a segment of ${byteWords(bytes)}: while that is so, ` +
              'segments are not kept on this disk, and those that a killed server has not recorded are trained again',
          );
          return;
        }
        await this.write(this.file(name, 'state'), [stateBytes]);
        await this.write(this.file(name, 'segment'), [createHash('sha256').update(facts).digest(), facts]);
        this.ends.set(name, { run, step: result.state.step });
        this.isTold = false;
      } catch (error) {
        this.tellOnce({ err: error }, `a segment could not be kept on this disk: ${(error as Error).message}`);
        await this.remove(name);
      }
    });
  }

  /** The server has recorded the segment that ends in this state, and those before it. */
  recorded(state: string): Promise<void> {
    return this.inTurn(async () => {
      const count = this.unrecorded.findIndex((one) => one.state === state) + 1;
      for (const { name } of this.unrecorded.splice(0, count)) {
        await this.remove(name);
        this.log.debug({ segment: name }, 'a segment is recorded, and no longer kept');
      }
    });
  }

  /**
   * The server lets the run go on from this step. So it has recorded or given up all segments that earlier processes trained before the
   * step. Segments that this process has handed out may still be under way.
   */
  goesOnFrom(run: string, step: number): Promise<void> {
    return this.inTurn(async () => {
      const underWay = new Set(this.unrecorded.map(({ name }) => name));
      for (const [name, end] of this.ends) {
        if (end.run !== run || end.step > step || underWay.has(name)) continue;
        await this.remove(name);
        this.log.debug({ segment: name }, 'a segment of an earlier process is recorded, and no longer kept');
      }
    });
  }

  /** Resolves when all segments that are being written are on the disk. */
  async settled(): Promise<void> {
    await this.last;
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.last.then(work);
    this.last = done.catch(() => undefined);
    return done;
  }

  private tellOnce(about: object, words: string): void {
    if (!this.isTold) this.log.warn(about, words);
    this.isTold = true;
  }

  private file(name: string, kind: 'segment' | 'state'): string {
    return join(this.folder, `${name}.${kind}`);
  }

  private async read(name: string): Promise<KeptSegment> {
    const { bytes, ...segment } = this.factsOf(name);
    const stateBytes = await this.stateOf(name, bytes);
    const digest = await digestInPieces(stateBytes);
    if (digest !== segment.result.state.digest) throw new Error(`its state has digest ${digest}, not ${segment.result.state.digest}`);
    return { ...segment, result: { ...segment.result, stateBytes } };
  }

  private factsOf(name: string): KeptSegment & { bytes: number } {
    const whole = readFileSync(this.file(name, 'segment'));
    const facts = whole.subarray(DIGEST_BYTES);
    if (!createHash('sha256').update(facts).digest().equals(whole.subarray(0, DIGEST_BYTES)))
      throw new Error('the file of its steps has not the digest that stands in front of it');
    return deserialize(facts) as KeptSegment & { bytes: number };
  }

  /** If a segment is damaged, the caller learns that when it asks for the segment. */
  private noteEnd(name: string): void {
    try {
      const { run, result } = this.factsOf(name);
      this.ends.set(name, { run, step: result.state.step });
    } catch {
      this.ends.delete(name);
    }
  }

  /** Takes over the segments of processes that have ended. */
  private takeOver(): void {
    for (const name of this.place.takeOver(ENTRY, LEFT_OVER)) this.noteEnd(name);
  }

  private async stateOf(name: string, bytes: number): Promise<Uint8Array> {
    const handle = await open(this.file(name, 'state'));
    try {
      const { size } = await handle.stat();
      if (size !== bytes) throw new Error(`its state has ${size} bytes, not ${bytes}`);
      const state = new Uint8Array(bytes);
      for (let at = 0; at < bytes;) {
        const { bytesRead } = await handle.read(state, at, Math.min(PIECE_BYTES, bytes - at), at);
        if (bytesRead === 0) throw new Error(`its state ends after ${at} bytes`);
        at += bytesRead;
      }
      return state;
    } finally {
      await handle.close();
    }
  }

  /** The file is not synced: after a crash of the machine the digests tell whether its bytes are there. */
  private async write(path: string, parts: readonly Uint8Array[]): Promise<void> {
    const [, file] = /([^/]+)$/.exec(path)!;
    const incoming = join(this.folder, unfinishedName(`.${file}.`, LEFT_OVER.after));
    try {
      const handle = await open(incoming, 'wx', 0o600);
      try {
        for (const part of parts)
          for (let at = 0; at < part.byteLength;)
            at += (await handle.write(part, at, Math.min(PIECE_BYTES, part.byteLength - at))).bytesWritten;
      } finally {
        await handle.close();
      }
      await rename(incoming, path);
    } catch (error) {
      await rm(incoming, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  /** Discards old segments. Returns the number of bytes that are missing all the same. */
  private makeRoom(bytes: number, name: string): number {
    const entries = this.entries().filter((one) => one.name !== name);
    let total = entries.reduce((sum, one) => sum + one.bytes, 0);
    const lacks = (): number => Math.max(total + bytes - this.limitBytes, bytes + LEAVES_FREE_BYTES - roomInSync(this.folder));
    for (const entry of entries) {
      if (lacks() <= 0) return 0;
      if (this.unrecorded.some((one) => one.name === entry.name)) continue; // without it, the segments after it were of no use
      this.discard(entry, 'there is no room for a newer one');
      total -= entry.bytes;
    }
    return lacks();
  }

  private removeOld(): void {
    const entries = this.entries();
    const isOld = ({ keptAtMs }: Entry): boolean => Date.now() - keptAtMs > KEPT_FOR_MS;
    for (const entry of entries.filter(isOld)) this.discard(entry, 'no server has asked for it for a week');
    const left = entries.filter((entry) => !isOld(entry));
    const bytes = left.reduce((sum, entry) => sum + entry.bytes, 0);
    if (left.length > 0) this.log.info({ folder: this.folder, segments: left.length, bytes }, 'segments are kept here for their servers');
  }

  /** The segments of the folder, the oldest first. */
  private entries(): Entry[] {
    const entries = new Map<string, Entry>();
    for (const file of readdirSync(this.folder)) {
      const name = ENTRY.exec(file)?.[1];
      const found = name === undefined ? undefined : statSync(join(this.folder, file), { throwIfNoEntry: false });
      if (name === undefined || found === undefined) continue;
      const entry = entries.get(name) ?? { name, bytes: 0, keptAtMs: 0 };
      entries.set(name, { name, bytes: entry.bytes + found.size, keptAtMs: Math.max(entry.keptAtMs, found.mtimeMs) });
    }
    return [...entries.values()].sort((one, other) => one.keptAtMs - other.keptAtMs);
  }

  private discard({ name, bytes }: Entry, why: string): void {
    this.ends.delete(name);
    for (const kind of ['segment', 'state'] as const) rmSync(this.file(name, kind), { force: true });
    this.log.warn({ segment: name, bytes, why }, 'a segment that was kept is discarded');
  }

  private async remove(name: string): Promise<void> {
    this.ends.delete(name);
    for (const kind of ['segment', 'state'] as const) await rm(this.file(name, kind), { force: true }).catch(() => undefined);
  }
}
