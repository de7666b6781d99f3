// Watches whether events can be recorded. The server does not end when a disk is full or read-only: work waits and is tried again, commands
// are refused at once with the cause, and health says NOT_SERVING. When there is room again, everything goes on by itself.
import { Inject, Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { faultWords, folderMark, hasMark, isFull, lacksInodes, ROOM_BYTES } from '#files';
import { EspalierError } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { LiveProgress } from '../live/live-progress.js';
import { LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { rotateLogs } from './log-rotation.js';
import { SpaceReserve } from './space-reserve.js';

const CHECK_INTERVAL_MS = 2_000;

@Injectable()
export class StorageWatch {
  private trouble: EspalierError | null = null;
  private timer: NodeJS.Timeout | undefined;
  private checking: Promise<void> | null = null;
  /** The paths that the server has open, with their marks at its start. */
  private readonly marks = new Map<string, string>();
  /** Called when events can no longer be recorded, and when they can be again. */
  onChange: (canRecord: boolean) => void = () => undefined;

  constructor(
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: OrchestratorConfig,
    @Inject(LiveProgress) private readonly live: LiveProgress,
    @Inject(SpaceReserve) private readonly reserve: Pick<SpaceReserve, 'renew'>,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  start(): void {
    const { dataFolder, eventStore } = this.config;
    const names = ['', 'orchestrator.lock', ...(eventStore === undefined ? ['event-store/events.db'] : [])];
    for (const path of names.map((name) => join(dataFolder, name))) this.marks.set(path, folderMark(path));
    rotateLogs(this.config.dataFolder, this.log);
    void this.check();
    this.timer = setInterval(() => void this.check(), CHECK_INTERVAL_MS);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** Whether the last check, a few seconds ago at most, found that events can be recorded. */
  get canRecord(): boolean {
    return this.trouble === null;
  }

  /** Checks now. @throws EspalierError STORAGE_FULL, STORAGE_UNUSABLE */
  async requireRoom(): Promise<void> {
    this.requireFolder();
    if (this.trouble !== null || (await isFull(this.config.dataFolder))) await this.check();
    if (this.trouble !== null) throw this.trouble;
  }

  /** @throws EspalierError STORAGE_UNUSABLE where the data folder was removed or replaced under the server */
  requireFolder(): void {
    const problem = this.removalProblem();
    if (problem !== null) throw problem;
  }

  /** Makes one check at a time. Never throws. */
  check(): Promise<void> {
    this.checking ??= this.look().finally(() => {
      this.checking = null;
    });
    return this.checking;
  }

  private async look(): Promise<void> {
    const { dataFolder } = this.config;
    // While all is well, a check writes nothing.
    const mayFail = this.trouble !== null || (await isFull(dataFolder));
    const found = this.removalProblem() ?? (mayFail ? await writeProblem(dataFolder) : null);
    const before = this.trouble;
    this.trouble = found;
    if (found === null) await this.reserve.renew();
    if (found !== null) this.live.waits(found);
    if ((found === null) === (before === null)) return;
    if (found === null) {
      this.live.goesOn();
      this.log.info('there is room again: everything goes on');
    } else this.log.error({ code: found.code }, found.message);
    this.onChange(found === null);
  }

  /** The error if an open file was removed. Such a file still accepts writes, but its content is lost when the server ends. */
  private removalProblem(): EspalierError | null {
    const removed = [...this.marks].find(([path, mark]) => !hasMark(path, mark))?.[0];
    if (removed === undefined) return null;
    const problem = `${removed} was removed or replaced under the running server (process ${process.pid}), so nothing is recorded any more`;
    return new EspalierError('STORAGE_UNUSABLE', `${problem}: put it back, or end that process and start the server again`, {
      metadata: { folder: this.config.dataFolder },
    });
  }
}

/** The problem that keeps a file of the needed size from being written, or null where it can be written. */
async function writeProblem(folder: string): Promise<EspalierError | null> {
  const path = join(folder, `.room-${process.pid}-${randomUUID()}`);
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      const { bytesWritten } = await file.write(Buffer.alloc(ROOM_BYTES));
      await file.sync();
      if (bytesWritten < ROOM_BYTES) return storageFull(folder);
    } finally {
      await file.close();
    }
    return null;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT') return storageFull(folder);
    const why = faultWords(error) ?? message;
    return new EspalierError('STORAGE_UNUSABLE', `the data folder ${folder} can't be written: ${why}`, { metadata: { folder } });
  } finally {
    await rm(path, { force: true }).catch(() => undefined);
  }
}

function storageFull(folder: string): EspalierError {
  const what = lacksInodes(folder) ? 'no inode for another file (df -i)' : 'no room';
  return new EspalierError('STORAGE_FULL', `${what} is left for the data folder ${folder}: free some, and all goes on by itself`, {
    metadata: { folder },
  });
}
