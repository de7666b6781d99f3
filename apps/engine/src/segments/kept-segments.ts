// Keeps segments on the disk of the engine, each from its end until it is recorded (docs/design/joined-engines.md). A segment is named by
// all that it was computed from, so a process that has come anew hands it out as well as the one that trained it.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { Logger } from 'pino';
import { byteWords } from '#comparison';
import { clearLeftOvers, leftOverName, makeFolder, roomInSync } from '#files';
import type { SegmentResult, StepReport } from '#native-engine';
import { digestInPieces } from '../chunks.js';

const MARKER = 'espalier-segments';
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
  /** The request for the segment, in words that are compared. */
  asked: string;
  steps: StepReport[];
  result: SegmentResult;
}

interface Place {
  name: string;
  bytes: number;
  keptAtMs: number;
}

/** Each engine has a folder of its own, since an engine does not know which segments another one still needs. */
export function usualSegmentFolder(engine: string): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'espalier', 'segments', engine);
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
  private isTold = false;

  private constructor(
    readonly folder: string,
    private readonly limitBytes: number,
    private readonly log: Pick<Logger, 'info' | 'warn' | 'debug'>,
  ) {}

  /** Makes the folder if it is not there. @throws Error why it can't be used */
  static open(path: string, limitBytes: number, log: Pick<Logger, 'info' | 'warn' | 'debug'>): KeptSegments {
    const folder = resolve(path);
    try {
      makeFolder(folder);
      requireOwn(folder);
      if (!existsSync(join(folder, MARKER))) {
        const [foreign] = readdirSync(folder).filter((name) => name !== 'lost+found');
        if (foreign !== undefined)
          throw new Error(`it holds ${JSON.stringify(foreign)}, which no engine put there; a new or empty folder is allowed`);
        writeFileSync(join(folder, MARKER), 'Segments that engines of Espalier have trained, until their server has recorded them.\n');
      }
      clearLeftOvers(folder, LEFT_OVER);
      const segments = new KeptSegments(folder, limitBytes, log);
      segments.removeOld();
      return segments;
    } catch (error) {
      throw new Error(`the folder for segments ${folder} can't be used: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Null: the segment is not here, or it is damaged. Never rejects. */
  find(name: string): Promise<KeptSegment | null> {
    return this.inTurn(async () => {
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
  keep(name: string, { asked, steps, result }: KeptSegment): Promise<void> {
    return this.inTurn(async () => {
      const { stateBytes, ...rest } = result;
      if (stateBytes === null) return;
      const facts = serialize({ asked, steps, result: rest, bytes: stateBytes.byteLength });
      // A segment that is not kept is recorded too, and then those before it go.
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
    const whole = await readFile(this.file(name, 'segment'));
    const facts = whole.subarray(DIGEST_BYTES);
    if (!createHash('sha256').update(facts).digest().equals(whole.subarray(0, DIGEST_BYTES)))
      throw new Error('the file of its steps has not the digest that stands in front of it');
    const { bytes, ...segment } = deserialize(facts) as KeptSegment & { bytes: number };
    const stateBytes = await this.stateOf(name, bytes);
    const digest = await digestInPieces(stateBytes);
    if (digest !== segment.result.state.digest) throw new Error(`its state has digest ${digest}, not ${segment.result.state.digest}`);
    return { ...segment, result: { ...segment.result, stateBytes } };
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
    const incoming = join(this.folder, leftOverName(`.${file}.`, LEFT_OVER.after));
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
    const places = this.places().filter((one) => one.name !== name);
    let total = places.reduce((sum, one) => sum + one.bytes, 0);
    const lacks = (): number => Math.max(total + bytes - this.limitBytes, bytes + LEAVES_FREE_BYTES - roomInSync(this.folder));
    for (const place of places) {
      if (lacks() <= 0) return 0;
      if (this.unrecorded.some((one) => one.name === place.name)) continue; // without it, the segments after it were of no use
      this.discard(place, 'there is no room for a newer one');
      total -= place.bytes;
    }
    return lacks();
  }

  private removeOld(): void {
    const places = this.places();
    const isOld = ({ keptAtMs }: Place): boolean => Date.now() - keptAtMs > KEPT_FOR_MS;
    for (const place of places.filter(isOld)) this.discard(place, 'no server has asked for it for a week');
    const left = places.filter((place) => !isOld(place));
    const bytes = left.reduce((sum, place) => sum + place.bytes, 0);
    if (left.length > 0) this.log.info({ folder: this.folder, segments: left.length, bytes }, 'segments are kept here for their servers');
  }

  /** The segments of the folder, the oldest first. */
  private places(): Place[] {
    const places = new Map<string, Place>();
    for (const file of readdirSync(this.folder)) {
      const name = ENTRY.exec(file)?.[1];
      const found = name === undefined ? undefined : statSync(join(this.folder, file), { throwIfNoEntry: false });
      if (name === undefined || found === undefined) continue;
      const place = places.get(name) ?? { name, bytes: 0, keptAtMs: 0 };
      places.set(name, { name, bytes: place.bytes + found.size, keptAtMs: Math.max(place.keptAtMs, found.mtimeMs) });
    }
    return [...places.values()].sort((one, other) => one.keptAtMs - other.keptAtMs);
  }

  private discard({ name, bytes }: Place, why: string): void {
    for (const kind of ['segment', 'state'] as const) rmSync(this.file(name, kind), { force: true });
    this.log.warn({ segment: name, bytes, why }, 'a segment that was kept is discarded');
  }

  private async remove(name: string): Promise<void> {
    for (const kind of ['segment', 'state'] as const) await rm(this.file(name, kind), { force: true }).catch(() => undefined);
  }
}
