// The jobs of a fleet as the last look found them, and the facts that are remembered from one look to the next.
import type { JobView } from './fleet-decision.js';
import type { JobFact } from './job-host.js';

export interface FleetJob extends JobFact {
  /** Whether the job's engine is or was connected. */
  hasJoined: boolean;
  /** Whether the fleet asked for the job's end. */
  isCancelled: boolean;
  /** For a job that has failed: the last line of its output, or ''. */
  lastLine: string;
}

interface Kept extends FleetJob {
  /** The time when the job was first seen running without a connected engine. */
  withoutEngineSinceMs: number | null;
  /** The time at which the engine was first seen, or null where it was not. */
  joinedAtMs: number | null;
}

/** Tells by its name whether an engine is connected, and busy. Null where no engine of the name is known. */
export type EngineLook = (engine: string) => 'free' | 'busy' | 'away' | null;

const ENDED_SHOWN = 10;
/** An engine that ends by a failure sooner than this after it joined was of no use. */
const LASTS_MS = 60_000;
const FAILED = new Set(['FAILED', 'OUT_OF_MEMORY', 'Failed']);

export class FleetJobs {
  private byEngine = new Map<string, Kept>();
  private isFirstLook = true;
  /** The ended jobs, the last one first. */
  ended: FleetJob[] = [];

  /** The jobs that wait, run or are about to end, in the order of their ids. */
  get all(): readonly FleetJob[] {
    return [...this.byEngine.values()].sort((left, right) => left.id.localeCompare(right.id, 'en', { numeric: true }));
  }

  /** Takes the result of a look. Returns the jobs that have ended since the look before. */
  update(listed: readonly JobFact[], engineOf: EngineLook, nowMs: number): FleetJob[] {
    const facts = [...listed, ...this.unlisted(listed)].map((fact) => asSeen(fact, engineOf(fact.engine)));
    const before = this.byEngine;
    const over: FleetJob[] = [];
    this.byEngine = new Map();
    for (const fact of facts) {
      const known = before.get(fact.engine);
      before.delete(fact.engine);
      const engine = engineOf(fact.engine);
      const job: Kept = {
        ...fact,
        // A job that ran before the first look had its engine at a former process of this server.
        hasJoined: known?.hasJoined ?? (this.isFirstLook && fact.stage === 'running'),
        joinedAtMs: known?.joinedAtMs ?? (this.isFirstLook && fact.stage === 'running' ? nowMs - LASTS_MS : null),
        lastLine: '',
        isCancelled: known?.isCancelled ?? false,
        withoutEngineSinceMs:
          fact.stage === 'running' && (engine === null || engine === 'away') ? (known?.withoutEngineSinceMs ?? nowMs) : null,
      };
      if (fact.stage !== 'over') this.byEngine.set(fact.engine, job);
      else if (known !== undefined) over.push(job); // a job that ended before the first look belonged to a former process
    }
    this.isFirstLook = false;
    this.ended = [...over.toReversed(), ...this.ended].slice(0, ENDED_SHOWN);
    return over;
  }

  /** Adds a job that was asked for. If the next look does not find it, it counts as ended. */
  asked(id: string, engine: string, account: string): void {
    const fact: JobFact = {
      ...{ id, engine, stage: 'waiting', state: 'PENDING', reason: '', node: '', isOutdated: false, owner: 'fleet', account },
    };
    const fresh = { hasJoined: false, isCancelled: false, lastLine: '', withoutEngineSinceMs: null, joinedAtMs: null };
    this.byEngine.set(engine, { ...fact, ...fresh });
  }

  /** The jobs that the host no longer lists. */
  private unlisted(listed: readonly JobFact[]): JobFact[] {
    const names = new Set(listed.map(({ engine }) => engine));
    const gone = [...this.byEngine.values()].filter(({ engine }) => !names.has(engine));
    return gone.map((job) => ({ ...job, stage: 'over', state: 'GONE', reason: 'it is no longer listed' }));
  }

  /** Notes which engines have joined. Returns the jobs whose engines have since the last call. */
  noteJoined(engineOf: EngineLook, nowMs: number): readonly FleetJob[] {
    const joined = [...this.byEngine.values()].filter(({ engine, hasJoined }) => !hasJoined && engineOf(engine) !== null);
    for (const job of joined) Object.assign(job, { hasJoined: true, joinedAtMs: nowMs });
    return joined;
  }

  /** The jobs whose engines have been of use, so that earlier failures say nothing any more. */
  lasting(nowMs: number): readonly FleetJob[] {
    return [...this.byEngine.values()].filter(({ joinedAtMs }) => joinedAtMs !== null && nowMs - joinedAtMs >= LASTS_MS);
  }

  /** Whether an ended job brought no engine, or one that was of no use. */
  hasFailed(job: FleetJob, nowMs: number): boolean {
    if (job.isCancelled) return false;
    const { joinedAtMs } = job as Kept;
    return !job.hasJoined || (FAILED.has(job.state) && joinedAtMs !== null && nowMs - joinedAtMs < LASTS_MS);
  }

  cancelled(ids: readonly string[]): void {
    for (const job of this.byEngine.values()) if (ids.includes(job.id)) job.isCancelled = true;
  }

  /** The job of the engine of this name, or undefined where none that is alive is known. */
  of(engine: string): FleetJob | undefined {
    return this.byEngine.get(engine);
  }

  views(engineOf: EngineLook, laneOf: (job: FleetJob) => string, nowMs: number): JobView[] {
    return this.all.flatMap((job): JobView[] => {
      const { id, stage, engine, isOutdated, isCancelled } = job;
      if (isCancelled || (stage !== 'waiting' && stage !== 'running')) return [];
      const since = this.byEngine.get(engine)!.withoutEngineSinceMs;
      const withoutEngineForMs = since === null ? 0 : nowMs - since;
      return [{ id, lane: laneOf(job), stage, engine: engineOf(engine) ?? 'none', withoutEngineForMs, isOutdated }];
    });
  }
}

/** A cluster gives up the jobs of a node that it can't reach. A job whose engine is still connected goes on taking a place. */
function asSeen(fact: JobFact, engine: ReturnType<EngineLook>): JobFact {
  return fact.stage === 'over' && (engine === 'free' || engine === 'busy') ? { ...fact, stage: 'running' } : fact;
}
