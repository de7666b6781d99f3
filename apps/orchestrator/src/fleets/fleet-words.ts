// The words by which a fleet tells users why a run waits, and why a job failed.
import type { EspalierError } from '#protocol';
import type { FleetJob } from './fleet-jobs.js';
import type { JobFact } from './job-host.js';

interface Told {
  wanted: number;
  most: number;
  /** The strays that take places. */
  strays: readonly JobFact[];
  isDrained: boolean;
  jobs: readonly FleetJob[];
  problem: EspalierError | null;
  /** The end of the pause after failures, or null where there is no pause. */
  notBefore: Date | null;
}

/** Why runs wait, or '' where no run waits or all allowed engines are connected and busy. */
export function waitWords({ wanted, most, strays, isDrained, jobs, problem, notBefore }: Told): string {
  if (wanted === 0) return '';
  if (isDrained) return 'an admin has drained the fleet: espalier fleet scale N ends that';
  if (problem !== null) return `${problem.message}${notBefore === null ? '' : `; the next try is at ${notBefore.toISOString()}`}`;
  const coming = jobs.filter(({ stage, hasJoined }) => stage === 'waiting' || (stage === 'running' && !hasJoined));
  if (coming.length > 0) return coming.map(jobWords).join('; ');
  const alive = jobs.filter(({ stage }) => stage !== 'ending');
  if (alive.length >= most) return '';
  if (strays.length > 0 && alive.length + strays.length >= most)
    return `jobs of an earlier fleet take places (${strays.map(({ id }) => id).join(', ')}): espalier fleet cancel JOB ends one`;
  return notBefore === null ? 'a job is about to be asked for' : `a job is asked for at ${notBefore.toISOString()}`;
}

function jobWords({ id, stage, state, reason, node }: FleetJob): string {
  if (stage === 'waiting') return `job ${id} waits (${reason === '' ? state : reason})`;
  return `job ${id} runs${node === '' ? '' : ` on ${node}`}, and its engine is about to join`;
}

export function endWords({ id, state, reason, node }: FleetJob): string {
  return `job ${id} has ended (${[state, reason].filter(Boolean).join(', ')}${node === '' ? '' : `, on ${node}`})`;
}
