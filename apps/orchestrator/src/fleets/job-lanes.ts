// The lanes of a fleet. A lane is the jobs of one kind that are asked for in the name of one account. Each has pauses of its own, so a kind
// that fails, or an account that is refused, holds up no other.
import { randomBytes } from 'node:crypto';
import { EspalierError } from '#protocol';
import { pauseAfterFailuresMs } from './fleet-decision.js';

/** The end of an engine's name, which is a new one for each job. */
const ENDING_BYTES = 4;
const ENDING = /-[0-9a-f]{8}$/;

export function newEngineName(fleet: string, kind: string): string {
  return [fleet, kind, randomBytes(ENDING_BYTES).toString('hex')].filter(Boolean).join('-');
}

/** The kind of job that brings the engine of this name, or null where the name is of another fleet. */
export function kindOfEngine(fleet: string, engine: string): string | null {
  const stem = engine.replace(ENDING, '');
  if (stem === engine) return null;
  if (stem === fleet) return '';
  return stem.startsWith(`${fleet}-`) ? stem.slice(fleet.length + 1) : null;
}

export const laneKey = (kind: string, account: string): string => `${kind}/${account}`;

export function laneParts(key: string): { kind: string; account: string } {
  const end = key.indexOf('/');
  return { kind: key.slice(0, end), account: key.slice(end + 1) };
}

export class JobLane {
  /** The number of jobs in a row that were refused or ended before their engine joined. */
  failures = 0;
  notBeforeMs = 0;
  surplusSinceMs: number | null = null;
  /** The reason why the last job was refused or failed, or null. */
  problem: EspalierError | null = null;

  constructor(readonly key: string) {}

  get notBefore(): Date | null {
    return this.notBeforeMs > Date.now() ? new Date(this.notBeforeMs) : null;
  }

  /** Notes that a job was refused or has failed. Returns the problem in words that name the lane. */
  fails({ code, message }: Pick<EspalierError, 'code' | 'message'>): EspalierError {
    this.failures += 1;
    this.notBeforeMs = Date.now() + pauseAfterFailuresMs(this.failures);
    const { kind, account } = laneParts(this.key);
    const which = [kind === '' ? '' : `jobs: ${kind}`, account === '' ? '' : `account ${account}`].filter(Boolean).join(', ');
    this.problem = new EspalierError(code, which === '' ? message : `${which}: ${message}`);
    return this.problem;
  }
}
