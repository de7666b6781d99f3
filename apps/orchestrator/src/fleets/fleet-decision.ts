// Decides which jobs a fleet asks for and which it cancels. It is a pure function of the jobs, their engines and the waiting work. It is
// called only after a look at the jobs, so a job that was asked for before a crash is counted.

export interface JobView {
  id: string;
  /** The stage of the job. Jobs that are over, or about to be, are left out of the view. */
  stage: 'waiting' | 'running';
  /** 'none' means that the engine has not joined, 'away' that it was cut off. */
  engine: 'none' | 'free' | 'busy' | 'away';
  /** The milliseconds for which the job has run without a connected engine. */
  withoutEngineForMs: number;
  /** Whether the job was asked for with other settings. */
  isOutdated: boolean;
}

export interface FleetView {
  /** The number of runs and jobs that no engine can take now. */
  wanted: number;
  most: number;
  /** The places that strays take. */
  strays: number;
  /** Whether an admin lets the fleet end: no job is asked for, and engines go when they are free. */
  isDrained: boolean;
  /** The jobs in the order in which they were asked for. */
  jobs: readonly JobView[];
  /** The number of jobs in a row that were refused or ended before their engine joined. */
  failures: number;
  /** False during the pause after a failure. */
  mayAsk: boolean;
  /** The milliseconds for which there have been more engines than are wanted. */
  surplusForMs: number;
  idleMs: number;
}

export interface FleetDecision {
  submit: number;
  /** The ids of the jobs to cancel. */
  cancel: string[];
  /** The number of engines under way beyond those that are wanted. */
  surplus: number;
}

/** The most jobs to ask for after one look, so that a mistake shows before all of them are in the queue. */
const AT_ONCE = 8;
/** An engine that was cut off is expected back for this time. Then another one is asked for. */
export const AWAY_MS = 30_000;
/** A job that has no connected engine for this time is cancelled and gives its place to another. */
export const LOST_MS = 600_000;

const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 600_000;

export function pauseAfterFailuresMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
}

export function decideFleet(view: FleetView): FleetDecision {
  const { wanted, most, strays, isDrained, jobs, failures, mayAsk, surplusForMs, idleMs } = view;
  if (isDrained)
    return { submit: 0, cancel: jobs.filter(({ engine }) => engine === 'none' || engine === 'free').map(({ id }) => id), surplus: 0 };
  const outdated = jobs.filter(({ stage, isOutdated }) => stage === 'waiting' && isOutdated);
  const lost = jobs.filter((job) => isWithoutEngine(job) && job.withoutEngineForMs >= LOST_MS);
  const usable = jobs.filter((job) => !outdated.includes(job) && !lost.includes(job));
  // An admin may have set a smaller number. Jobs that run go on, and strays cost no waiting job its place in the queue.
  const over = Math.max(0, usable.length - most);
  const beyond = over === 0 ? [] : usable.filter(({ stage }) => stage === 'waiting').slice(-over);
  const kept = usable.filter((job) => !beyond.includes(job));
  const underWay = kept.filter(bringsEngine);
  const missing = wanted - underWay.length;
  const surplus = Math.max(0, -missing);
  const waiting = underWay.filter(({ stage }) => stage === 'waiting');
  const unwanted = surplusForMs >= idleMs && surplus > 0 ? waiting.slice(-surplus) : [];
  const submit = mayAsk ? Math.max(0, Math.min(missing, most - kept.length - strays, failures > 0 ? 1 : AT_ONCE)) : 0;
  return { submit, cancel: [...outdated, ...lost, ...beyond, ...unwanted].map(({ id }) => id), surplus };
}

const isWithoutEngine = ({ stage, engine }: JobView): boolean => stage === 'running' && (engine === 'none' || engine === 'away');

/** Tells whether a waiting run can count on the job's engine. */
function bringsEngine({ stage, engine, withoutEngineForMs }: JobView): boolean {
  if (stage === 'waiting') return true;
  return engine === 'none' || engine === 'free' || (engine === 'away' && withoutEngineForMs < AWAY_MS);
}
