// The words by which a fleet tells users why a run waits, and why a job failed.
import type { EspalierError } from '#protocol';
import type { FleetJob } from './fleet-jobs.js';
import type { JobFact } from './job-host.js';

interface Told {
  most: number;
  /** The strays that take places. */
  strays: readonly JobFact[];
  isDrained: boolean;
  jobs: readonly FleetJob[];
  /** Whether the job's engine can take the run. */
  suits: (job: FleetJob) => boolean;
  problem: EspalierError | null;
  /** The end of the pause after failures, or null where there is no pause. */
  notBefore: Date | null;
}

/** Why a run waits, or '' where all allowed engines are connected and busy. */
export function waitWords({ most, strays, isDrained, jobs, suits, problem, notBefore }: Told): string {
  if (isDrained) return 'an admin has drained the fleet: espalier fleet scale N ends that';
  if (problem !== null) return `${problem.message}${notBefore === null ? '' : `; the next try is at ${notBefore.toISOString()}`}`;
  const coming = jobs.filter((job) => suits(job) && (job.stage === 'waiting' || (job.stage === 'running' && !job.hasJoined)));
  if (coming.length > 0) return coming.map(jobWords).join('; ');
  const alive = jobs.filter(({ stage }) => stage !== 'ending');
  if (alive.length >= most) return '';
  if (strays.length > 0 && alive.length + strays.length >= most)
    return `jobs of an earlier fleet take places (${strays.map(({ id }) => id).join(', ')}): espalier fleet cancel JOB ends one`;
  return notBefore === null ? 'a job is about to be asked for' : `a job is asked for at ${notBefore.toISOString()}`;
}

/** Why no kind of job brings an engine for a run. @param reasons by the name of the kind */
export function unservedWords(reasons: readonly (readonly [kind: string, why: string])[]): string {
  return `no job of the fleet is asked for: ${reasons.map(([kind, why]) => (kind === '' ? why : `${kind}: ${why}`)).join('; ')}`;
}

function jobWords({ id, stage, state, reason, node }: FleetJob): string {
  if (stage === 'waiting') return `job ${id} waits (${reason === '' ? state : reason})`;
  return `job ${id} runs${node === '' ? '' : ` on ${node}`}, and its engine is about to join`;
}

export function endWords({ id, state, reason, node }: FleetJob): string {
  return `job ${id} has ended (${[state, reason].filter(Boolean).join(', ')}${node === '' ? '' : `, on ${node}`})`;
}
