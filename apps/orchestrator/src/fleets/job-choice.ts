// Tells which kinds of job bring an engine that can take a run: by its numerics, by its memory, and by what the engines that came have
// said. So no job is asked for in vain again and again.
import { byteWords, chosenNumerics, numericsDifference } from '#comparison';
import type { RunInNeed } from '../engine-pool/engine-source.js';
import type { Fit } from '../engine-pool/placement.js';
import type { JobKind } from './fleet-settings.js';

/** The pause after the first engine that could not take a run. The nodes of a cluster may differ, so the next engine may be able to. */
const FIRST_PAUSE_MS = 600_000;
const LONGEST_PAUSE_MS = 6 * 3_600_000;
/** The bytes of a gigabyte, as Slurm and Kubernetes count them. */
export const GB = 2 ** 30;
/** The runs whose memory is planned, in the order of turns. Those after them get no job before their turn. */
const PLANNED_MAX = 64;

interface Misfit {
  engines: Set<string>;
  untilMs: number;
  why: string;
}

export class JobChoice {
  /** By kind and run. */
  private readonly misfits = new Map<string, Misfit>();
  /** The planned bytes of runs by their key, or null where there is no plan. */
  private readonly planned = new Map<string, number | null>();

  /** @param plan returns the bytes that the run takes on an engine of this many threads */
  constructor(private readonly plan: (run: RunInNeed, cpus: number) => Promise<number>) {}

  /** Forgets what engines have said, because jobs are asked for with other settings from now on. */
  clear(): void {
    this.misfits.clear();
  }

  /** Plans the memory of runs, where it decides between kinds of job. */
  async planMemory(runs: readonly RunInNeed[], kinds: readonly JobKind[]): Promise<void> {
    const limited = kinds.find(hasKnownMemory);
    if (kinds.length === 1 || limited === undefined) return;
    for (const run of runs.slice(0, PLANNED_MAX)) {
      if (this.planned.has(run.key)) continue;
      const bytes = await this.plan(run, limited.cpus).catch(() => null);
      this.planned.set(run.key, bytes);
    }
  }

  /**
   * Notes what engines that came have said about the runs.
   * @param kindOf the kind of job that brought an engine, or null
   * @param isFree whether an engine has no work, so that its memory is that of its job
   */
  note(runs: readonly RunInNeed[], kindOf: (engine: string) => string | null, isFree: (engine: string) => boolean, nowMs: number): void {
    for (const [key, { untilMs }] of this.misfits) if (nowMs - untilMs > LONGEST_PAUSE_MS) this.misfits.delete(key);
    for (const run of runs) {
      for (const [engine, fit] of run.fits) {
        const why = otherNumerics(run, fit) ?? (isFree(engine) ? lackOfMemory(fit) : null);
        const kind = why === null ? null : kindOf(engine);
        if (why === null || kind === null) continue;
        const key = misfitKey(kind, run);
        const engines = this.misfits.get(key)?.engines ?? new Set<string>();
        if (engines.has(engine)) continue;
        engines.add(engine);
        this.misfits.set(key, { engines, untilMs: nowMs + Math.min(FIRST_PAUSE_MS * 2 ** (engines.size - 1), LONGEST_PAUSE_MS), why });
      }
    }
  }

  /** The reason why no job of the kind is asked for the run now, or null. */
  whyNot(run: RunInNeed, kind: JobKind, nowMs: number): string | null {
    const misfit = this.misfits.size === 0 ? undefined : this.misfits.get(misfitKey(kind.name, run));
    return (
      numericsProblem(run, kind) ??
      this.memoryProblem(run, kind) ??
      (misfit === undefined || misfit.untilMs <= nowMs ? null : `${misfit.why}; the next is asked for at ${isoTime(misfit.untilMs)}`)
    );
  }

  /** The reason why an engine of the kind lacks memory for the run, or null. */
  memoryProblem({ key }: RunInNeed, kind: JobKind): string | null {
    const bytes = this.planned.get(key) ?? null;
    if (bytes === null || !hasKnownMemory(kind) || bytes <= kind.memoryGb! * GB) return null;
    return `the run needs ${byteWords(bytes)}, and a job has ${kind.memoryGb} GB`;
  }
}

/** Whether the memory of the job is the memory that its engine trains in. That of a card is not known before an engine has joined. */
const hasKnownMemory = ({ cards, memoryGb }: JobKind): boolean => cards === null && memoryGb !== null;

const isoTime = (ms: number): string => new Date(ms).toISOString();

/** Equal for runs of which an engine says the same. */
const misfitKey = (kind: string, { fingerprint, key }: RunInNeed): string => `${kind}/${fingerprint ?? ''} ${key}`;

function numericsProblem({ fingerprint }: RunInNeed, { cpus, cards }: JobKind): string | null {
  if (fingerprint === null) return null;
  const { device, threads } = chosenNumerics(fingerprint);
  const own = cards === null ? `cpu with ${cpus} threads` : 'cuda';
  const its = device === 'cpu' ? `cpu with ${threads} threads` : device;
  return its === undefined || its === own ? null : `its engines compute on ${own}, and the run was trained on ${its}`;
}

function otherNumerics({ fingerprint }: RunInNeed, fit: Fit): string | null {
  if ('problem' in fit || fingerprint === null || fit.fingerprint === fingerprint) return null;
  return `an engine of other numerics came: ${numericsDifference(fingerprint, fit.fingerprint)}`;
}

/** The words of an engine that has said that the run needs more memory than it has, or null. */
export function lackOfMemory(fit: Fit | undefined): string | null {
  if (fit === undefined || 'problem' in fit || fit.neededBytes <= fit.availableBytes) return null;
  return `an engine came with ${byteWords(fit.availableBytes)}, and the run needs ${byteWords(fit.neededBytes)}`;
}
