// The place where the jobs of a fleet run, as the fleet asks it. Each call asks once, and ends within a bounded time.

export type JobStage =
  | 'waiting' // it has not begun
  | 'running'
  | 'ending' // it has no engine any more, and may hold its node for a while
  | 'over';

export interface JobFact {
  /** As the host names it. */
  id: string;
  /** The name of its engine, which was given when it was asked for. */
  engine: string;
  stage: JobStage;
  /** In the host's words: "PENDING", "TIMEOUT". */
  state: string;
  /** The same: "Resources"; '': none. */
  reason: string;
  node: string;
  /** It was asked for with other settings of the fleet. */
  isOutdated: boolean;
}

export interface JobHost {
  /** The jobs of this fleet, and of no other. @throws EspalierError FLEET_UNREACHABLE */
  look(): Promise<JobFact[]>;
  /**
   * Asks for a job, and returns its id. After a failure it is not known whether there is a job: the next look tells.
   * @throws EspalierError FLEET_JOB_REFUSED, FLEET_UNREACHABLE
   */
  submit(engine: string): Promise<string>;
  /** A job that is over already is no error. @throws EspalierError FLEET_UNREACHABLE */
  cancel(ids: readonly string[]): Promise<void>;
  /** Where the output of a job lies. */
  logOf(job: Pick<JobFact, 'id' | 'engine'>): string;
}
