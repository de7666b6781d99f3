// A small file in the data folder that reserves space. On a full disk not even a deletion could be recorded, so the reserve is then given
// up for it, and made again once there is space. A start on a full disk takes half of it, because the server has to run before anything can
// be deleted.
import { Inject, Injectable } from '@nestjs/common';
import { randomFillSync } from 'node:crypto';
import { statSync, truncateSync } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { isFull, RESERVE_FILE, ROOM_BYTES, roomIn, roomInSync } from '#files';
import type { OrchestratorConfig } from '../config.js';
import { LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { DriverLease } from './driver-lease.js';

const RESERVE_BYTES = 4 << 20;
/** The reserve is made only where this many bytes are free, so that it never fills a disk. */
const MADE_WITH_BYTES = 4 * RESERVE_BYTES;
const OUT_OF_SPACE = new Set(['STORE_DISK_FULL', 'STORAGE_FULL', 'SQLITE_FULL', 'ENOSPC', 'EDQUOT']);

/** Gives up half of the reserve where the disk is full. Call it before the server opens anything, since without free space it could not. */
export function startWithPartOfReserve(dataFolder: string): void {
  const file = join(dataFolder, RESERVE_FILE);
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > 0 && roomInSync(dataFolder) < ROOM_BYTES) truncateSync(file, Math.floor(size / 2));
}

@Injectable()
export class SpaceReserve {
  private readonly dataFolder: string;
  private readonly file: string;

  constructor(
    @Inject(ORCHESTRATOR_CONFIG) { dataFolder }: Pick<OrchestratorConfig, 'dataFolder'>,
    @Inject(DriverLease) private readonly lease: Pick<DriverLease, 'lookAgain'>,
    @Inject(LOGGER) private readonly log: Logger,
  ) {
    this.dataFolder = dataFolder;
    this.file = join(dataFolder, RESERVE_FILE);
  }

  /** Makes the reserve where it is missing or was cut, and there is space. Never throws. */
  async renew(): Promise<void> {
    const made = `${this.file}.new`;
    try {
      if ((await this.bytes()) >= RESERVE_BYTES || (await roomIn(this.dataFolder)) < MADE_WITH_BYTES) return;
      const file = await open(made, 'w', 0o600);
      try {
        await file.writeFile(randomFillSync(Buffer.alloc(RESERVE_BYTES))); // zeros might take no space on the disk
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(made, this.file);
    } catch (error) {
      this.log.warn({ err: error }, 'no reserve could be set aside in the data folder');
      await rm(made, { force: true }).catch(() => undefined);
    }
  }

  /** Does work that frees space, and gives up the reserve for it where the disk is full. */
  async spend<T>(work: () => Promise<T>): Promise<T> {
    await this.giveUpWhereFull();
    try {
      return await work();
    } catch (error) {
      if (!isOutOfSpace(error) || !(await this.giveUp())) throw error;
      return await work();
    }
  }

  async giveUpWhereFull(): Promise<void> {
    if (await isFull(this.dataFolder)) await this.giveUp();
  }

  /** Returns false where there is no reserve. */
  private async giveUp(): Promise<boolean> {
    if ((await this.bytes()) === 0) return false;
    await rm(this.file, { force: true });
    this.log.warn('the data folder is full: its reserve is given up to make room');
    await this.lease.lookAgain(); // the lease could not be renewed either
    return true;
  }

  private bytes(): Promise<number> {
    return stat(this.file).then(
      ({ size }) => size,
      () => 0,
    );
  }
}

function isOutOfSpace(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return OUT_OF_SPACE.has(String((error as { code?: unknown }).code)) || isOutOfSpace(error.cause);
}
