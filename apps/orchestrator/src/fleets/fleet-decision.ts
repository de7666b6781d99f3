// Decides which jobs a fleet asks for and which it cancels. It is a pure function of the jobs, their engines and the waiting work. It is
// called only after a look at the jobs, so a job that was asked for before a crash is counted.

export interface JobView {
  id: string;
  lane: string;
  /** The stage of the job. Jobs that are over, or about to be, are left out of the view. */
  stage: 'waiting' | 'running';
  /** 'none' means that the engine has not joined, 'away' that it was cut off. */
  engine: 'none' | 'free' | 'busy' | 'away';
  /** The milliseconds for which the job has run without a connected engine. */
  withoutEngineForMs: number;
  /** Whether the job was asked for with other settings. */
  isOutdated: boolean;
}

/** The facts that are known of the jobs of one kind and account. */
export interface LaneView {
  /** The number of jobs in a row that were refused or ended before their engine joined. */
  failures: number;
  /** False during the pause after a failure. */
  mayAsk: boolean;
  /** The milliseconds for which there have been more engines than are wanted. */
  surplusForMs: number;
  idleMs: number;
}

export interface FleetView {
  /** For each run that no engine can take now, in the order of turns: the lanes whose engines can take it, a preferred one first. */
  wanted: readonly (readonly string[])[];
  most: number;
  /** The places that strays take. */
  strays: number;
  /** Whether an admin lets the fleet end: no job is asked for, and engines go when they are free. */
  isDrained: boolean;
  /** The jobs in the order in which they were asked for. */
  jobs: readonly JobView[];
  lane: (key: string) => LaneView;
}

export interface FleetDecision {
  /** The lanes for which a job each is asked for. */
  submit: string[];
  /** The ids of the jobs to cancel. */
  cancel: string[];
  /** By lane: the number of engines under way beyond those that are wanted. */
  surplus: ReadonlyMap<string, number>;
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
  const { wanted, most, strays, isDrained, jobs, lane } = view;
  if (isDrained) {
    const idle = jobs.filter(({ engine }) => engine === 'none' || engine === 'free');
    return { submit: [], cancel: idle.map(({ id }) => id), surplus: new Map() };
  }
  const outdated = jobs.filter(({ stage, isOutdated }) => stage === 'waiting' && isOutdated);
  const lost = jobs.filter((job) => isWithoutEngine(job) && job.withoutEngineForMs >= LOST_MS);
  const usable = jobs.filter((job) => !outdated.includes(job) && !lost.includes(job));
  // An admin may have set a smaller number. Jobs that run go on, and strays cost no waiting job its place in the queue.
  const over = Math.max(0, usable.length - most);
  const beyond = over === 0 ? [] : usable.filter(({ stage }) => stage === 'waiting').slice(-over);
  const kept = usable.filter((job) => !beyond.includes(job));
  const underWay = kept.filter(bringsEngine);
  const { missing, surplus } = matched(wanted, underWay);
  const unwanted = [...surplus].flatMap(([key, count]) => {
    const { surplusForMs, idleMs } = lane(key);
    return surplusForMs >= idleMs ? underWay.filter((job) => job.lane === key && job.stage === 'waiting').slice(-count) : [];
  });
  const submit = askedFor(missing, Math.min(most - kept.length - strays, AT_ONCE), lane);
  return { submit, cancel: [...outdated, ...lost, ...beyond, ...unwanted].map(({ id }) => id), surplus };
}

/** Gives the engines under way to the runs that count on them. Returns the runs without one, and the engines that are left, by lane. */
function matched(
  wanted: FleetView['wanted'],
  underWay: readonly JobView[],
): { missing: FleetView['wanted']; surplus: Map<string, number> } {
  const spare = new Map<string, number>();
  for (const job of underWay) spare.set(job.lane, (spare.get(job.lane) ?? 0) + 1);
  const served = new Set<number>();
  // Runs that have less choice come first here, so that another run does not take the only engine for them.
  for (const [index, lanes] of [...wanted.entries()].sort(([, left], [, right]) => left.length - right.length)) {
    const key = lanes.find((one) => spare.has(one));
    if (key === undefined) continue;
    served.add(index);
    const left = spare.get(key)! - 1;
    if (left > 0) spare.set(key, left);
    else spare.delete(key);
  }
  return { missing: wanted.filter((_, index) => !served.has(index)), surplus: spare };
}

/** A run takes its first lane that is not in a pause. After a failure a lane gets a single job. */
function askedFor(missing: FleetView['wanted'], places: number, lane: FleetView['lane']): string[] {
  const submit: string[] = [];
  for (const lanes of missing) {
    if (submit.length >= places) break;
    const key = lanes.find((one) => lane(one).mayAsk);
    if (key !== undefined && !(lane(key).failures > 0 && submit.includes(key))) submit.push(key);
  }
  return submit;
}

const isWithoutEngine = ({ stage, engine }: JobView): boolean => stage === 'running' && (engine === 'none' || engine === 'away');

/** Tells whether a waiting run can count on the job's engine. */
function bringsEngine({ stage, engine, withoutEngineForMs }: JobView): boolean {
  if (stage === 'waiting') return true;
  return engine === 'none' || engine === 'free' || (engine === 'away' && withoutEngineForMs < AWAY_MS);
}
