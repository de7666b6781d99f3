// Keeps artifacts that were used lately as files of this machine. A file enters the cache whole, by a rename, but it is not synced, so a
// power cut may change its bytes. Therefore the first use in the life of a process reads the file and checks its digest. The bucket still
// has a file that is lost here.
import { statSync, utimesSync } from 'node:fs';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { digestOfFile, fileMark, makeFolder, roomIn } from '#files';
import { isDigest, requireDigest } from '../digest.js';

/** The least time between two notes of a file's use. The notes only decide which file is removed first, so they need not be exact. */
const TOUCH_EVERY_MS = 10_000;
/** The cache leaves this much of the disk free, because events and states that are being written need room too. */
const LEAVES_FREE_BYTES = 1024 ** 3;

interface CachedFile {
  bytes: number;
  usedAtMs: number;
  /** The mark of the file when its digest was checked; '': this process has not checked the file. */
  whole: string;
}

export class FileCache {
  /** The files by digest; the one used least recently comes first. */
  private readonly files = new Map<string, CachedFile>();
  private bytes = 0;

  private constructor(
    private readonly folder: string,
    private readonly limitBytes: number,
    private readonly leavesFreeBytes: number,
  ) {}

  static async open(folder: string, limitBytes: number, leavesFreeBytes = LEAVES_FREE_BYTES): Promise<FileCache> {
    const cache = new FileCache(folder, limitBytes, leavesFreeBytes);
    makeFolder(folder);
    const found: [string, CachedFile][] = [];
    for (const shard of await readdir(folder)) {
      for (const digest of (await readdir(join(folder, shard)).catch(() => [])).filter(isDigest)) {
        const about = await stat(join(folder, shard, digest)).catch(() => null);
        if (about !== null) found.push([digest, { bytes: about.size, usedAtMs: about.mtimeMs, whole: '' }]);
      }
    }
    for (const [digest, file] of found.sort(([, left], [, right]) => left.usedAtMs - right.usedAtMs)) cache.note(digest, file);
    await cache.makeRoom();
    return cache;
  }

  /** Returns the path of a file, unchecked; null: the cache has no such file. */
  fileOf(digest: string): string | null {
    const path = this.pathOf(digest);
    const mark = markOf(path);
    if (mark === null) return null;
    this.use(digest, path, this.files.get(digest)?.whole === mark);
    return path;
  }

  /**
   * Returns the path of a file after its bytes were compared with the digest; null: the cache has no such file. A damaged file is removed.
   */
  async wholeFileOf(digest: string): Promise<string | null> {
    const path = this.pathOf(digest);
    const mark = markOf(path);
    if (mark === null) return null;
    if (this.files.get(digest)?.whole !== mark && (await digestOfFile(path).catch(() => null)) !== digest) {
      await this.drop(digest);
      return null;
    }
    this.use(digest, path, true);
    return path;
  }

  /** Moves a whole file into the cache, or removes it if it is larger than the cache may be. */
  async admit(path: string, digest: string, bytes: number): Promise<void> {
    if (bytes > this.limitBytes) return rm(path, { force: true });
    const to = this.pathOf(digest);
    makeFolder(dirname(to));
    await rename(path, to);
    this.forget(digest);
    this.note(digest, { bytes, usedAtMs: Date.now(), whole: markOf(to) ?? '' });
    await this.makeRoom();
  }

  async drop(digest: string): Promise<void> {
    this.forget(digest);
    await rm(this.pathOf(digest), { force: true });
  }

  /** Tells whether a file of this size may enter the cache. */
  takes(bytes: number): boolean {
    return bytes <= this.limitBytes;
  }

  private pathOf(digest: string): string {
    requireDigest(digest);
    return join(this.folder, digest.slice(0, 2), digest);
  }

  private use(digest: string, path: string, isWhole: boolean): void {
    const known = this.files.get(digest);
    const now = Date.now();
    if (now - (known?.usedAtMs ?? 0) >= TOUCH_EVERY_MS) {
      try {
        utimesSync(path, now / 1_000, now / 1_000);
      } catch {
        return; // the file was removed in between
      }
    }
    const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    this.forget(digest);
    this.note(digest, { bytes, usedAtMs: now, whole: isWhole ? (markOf(path) ?? '') : '' });
  }

  private note(digest: string, file: CachedFile): void {
    this.files.set(digest, file);
    this.bytes += file.bytes;
  }

  private forget(digest: string): void {
    this.bytes -= this.files.get(digest)?.bytes ?? 0;
    this.files.delete(digest);
  }

  /** Removes the files used least recently. A reader that has such a file open can still read it. */
  private async makeRoom(): Promise<void> {
    for (const digest of this.files.keys()) {
      if (this.bytes <= this.limitBytes && (await roomIn(this.folder)) >= this.leavesFreeBytes) return;
      await this.drop(digest);
    }
  }
}

/** A mark that changes with the bytes of a file; null: there is no file. */
function markOf(path: string): string | null {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? null : fileMark(found);
}
