// Notes on disk which jobs are under way. Jobs are no events, since their results are, so a server that is killed forgets them. The next
// one reads here which jobs it has lost, and says so to those who look for them.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { writeOwnFile } from '#files';
import { EspalierError } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { LOGGER, ORCHESTRATOR_CONFIG } from '../provider-names.js';

const FILE = 'jobs.json';

export interface JobNote {
  jobId: string;
  runId: string;
  request: unknown;
  startedBy: string;
  startedByName: string;
  startedAt: string;
}

export const jobLost = (): EspalierError =>
  new EspalierError('JOB_LOST', 'the server ended while this was under way; what is recorded stays, and it can be started again');

/** Tells whether a job failed only because its server stops, so that it is lost like those of a server that is killed. */
export const endsWithServer = (failure: EspalierError | null): boolean => failure?.code === 'SHUTTING_DOWN';

@Injectable()
export class JobNotes {
  private readonly file: string;
  private readonly underWay = new Map<string, JobNote>();
  /** The jobs that were under way when the server before this one ended. */
  readonly lost: readonly JobNote[];

  constructor(
    @Inject(ORCHESTRATOR_CONFIG) { dataFolder }: Pick<OrchestratorConfig, 'dataFolder'>,
    @Inject(LOGGER) private readonly log: Pick<Logger, 'warn'>,
  ) {
    this.file = join(dataFolder, FILE);
    this.lost = this.read();
  }

  isUnderWay(note: JobNote): void {
    this.underWay.set(note.jobId, note);
    this.write();
  }

  hasEnded(jobId: string): void {
    if (this.underWay.delete(jobId)) this.write();
  }

  private read(): JobNote[] {
    try {
      return JSON.parse(readFileSync(this.file, 'utf8')) as JobNote[];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        this.log.warn({ err: error }, `${FILE} can't be read: lost jobs are not known`);
      return [];
    }
  }

  /** A note that can't be written costs nothing but itself. */
  private write(): void {
    try {
      writeOwnFile(this.file, JSON.stringify([...this.underWay.values()]));
    } catch (error) {
      this.log.warn({ err: error }, `${FILE} can't be written: a job that is lost would not be known`);
    }
  }
}
