// Which jobs a fleet asks for, and which it cancels: a pure function of the jobs, their engines and what waits. It is asked after each
// look at the jobs, and never without one, so a job that was asked for before a crash is counted.

export interface JobView {
  id: string;
  /** Jobs that are over, or about to be, are not among those that the function sees. */
  stage: 'waiting' | 'running';
  /** none: it has not joined. away: it was cut off. */
  engine: 'none' | 'free' | 'busy' | 'away';
  /** Since when the job runs without an engine that is here. */
  withoutEngineForMs: number;
  /** It was asked for with other settings. */
  isOutdated: boolean;
}

export interface FleetView {
  /** Runs and jobs that no engine can take now. */
  wanted: number;
  most: number;
  /** In the order in which they were asked for. */
  jobs: readonly JobView[];
  /** Jobs in a row that were refused, or ended before their engine joined. */
  failures: number;
  /** False: the time after a failure is not over. */
  mayAsk: boolean;
  /** Since when more engines are under way than are wanted. */
  surplusForMs: number;
  idleMs: number;
}

export interface FleetDecision {
  submit: number;
  /** Ids of jobs. */
  cancel: string[];
  /** Engines under way beyond what is wanted. */
  surplus: number;
}

/** Jobs asked for after one look: a mistake shows before all of them are in the queue. */
const AT_ONCE = 8;
/** An engine that was cut off is expected back for this time; then another is asked for. */
export const AWAY_MS = 30_000;
/** A job whose engine does not come for so long gives its place to another. */
export const LOST_MS = 600_000;

const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 600_000;

export function pauseAfterFailuresMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
}

export function decideFleet({ wanted, most, jobs, failures, mayAsk, surplusForMs, idleMs }: FleetView): FleetDecision {
  const outdated = jobs.filter(({ stage, isOutdated }) => stage === 'waiting' && isOutdated);
  const lost = jobs.filter((job) => isWithoutEngine(job) && job.withoutEngineForMs >= LOST_MS);
  const kept = jobs.filter((job) => !outdated.includes(job) && !lost.includes(job));
  const underWay = kept.filter(bringsEngine);
  const missing = wanted - underWay.length;
  const surplus = Math.max(0, -missing);
  const waiting = underWay.filter(({ stage }) => stage === 'waiting');
  const unwanted = surplusForMs >= idleMs && surplus > 0 ? waiting.slice(-surplus) : [];
  const submit = mayAsk ? Math.max(0, Math.min(missing, most - kept.length, failures > 0 ? 1 : AT_ONCE)) : 0;
  return { submit, cancel: [...outdated, ...lost, ...unwanted].map(({ id }) => id), surplus };
}

const isWithoutEngine = ({ stage, engine }: JobView): boolean => stage === 'running' && (engine === 'none' || engine === 'away');

/** Whether a run that waits can count on the job's engine. */
function bringsEngine({ stage, engine, withoutEngineForMs }: JobView): boolean {
  if (stage === 'waiting') return true;
  return engine === 'none' || engine === 'free' || (engine === 'away' && withoutEngineForMs < AWAY_MS);
}
