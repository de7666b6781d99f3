// The place where the jobs of a fleet run, such as a cluster. Each call asks it once and ends within a limited time.

import type { JobMark, JobOwner } from './job-mark.js';

export type JobStage =
  | 'waiting' // the job has not begun
  | 'running'
  | 'ending' // the job has no engine any more, and may hold its node for a while
  | 'over';

export interface JobFact {
  /** The host's id for the job. */
  id: string;
  /** The name of the job's engine, which was given when the job was asked for. */
  engine: string;
  stage: JobStage;
  /** The job's state in the host's words, such as "PENDING" or "TIMEOUT". */
  state: string;
  /** The reason for the state in the host's words, such as "Resources", or ''. */
  reason: string;
  node: string;
  /** Whether the job was asked for with other settings of the fleet. */
  isOutdated: boolean;
  owner: Exclude<JobOwner, 'elsewhere'>;
  /** The account of the cluster that a caller's jobs are asked for in, or '' for the fleet's own. */
  account: string;
}

/** Finds the jobs of a fleet in a cluster's list. */
export interface JobFinder {
  mark: JobMark;
  /** The digest of all settings with which a job for this engine would be asked for now. Undefined where the fleet has no such kind. */
  specIdOf: (engine: string) => string | undefined;
}

export interface JobHost {
  /** The jobs of this fleet, and strays. An answer that is no list of jobs is an error. @throws EspalierError FLEET_UNREACHABLE */
  look(): Promise<JobFact[]>;
  /**
   * Asks for a job, and returns its id. After a failure it is not known whether there is a job; the next look tells.
   * @param account of the cluster, or '' for the fleet's own
   * @param token by which the job's engine joins, for hosts whose jobs can't read its file
   * @throws EspalierError FLEET_JOB_REFUSED, FLEET_UNREACHABLE
   */
  submit(engine: string, account: string, token: string): Promise<string>;
  /** Reads the files that the host itself needs for a job. @throws EspalierError FILE_UNUSABLE */
  requireFiles?(): void;
  /** Cancels jobs. A job that is over already is not an error. @throws EspalierError FLEET_UNREACHABLE */
  cancel(ids: readonly string[]): Promise<void>;
  /** The path of the job's output, or the command that shows it. */
  logOf(job: Pick<JobFact, 'id' | 'engine'>): string;
  /** The last line of the job's output, or '' where it has none that can be read here. */
  lastLineOf(job: Pick<JobFact, 'id' | 'engine'>): string;
}
