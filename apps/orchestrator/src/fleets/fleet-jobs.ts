// The jobs of a fleet as the last look found them, and what is remembered of them from one look to the next.
import type { JobView } from './fleet-decision.js';
import type { JobFact } from './job-host.js';

export interface FleetJob extends JobFact {
  /** Its engine is here, or was. */
  hasJoined: boolean;
  /** We asked for its end. */
  isCancelled: boolean;
}

interface Kept extends FleetJob {
  /** When it was first seen to run without an engine that is here. */
  withoutEngineSinceMs: number | null;
}

/** How an engine is here, by its name; null: no engine of the name is known. */
export type EngineLook = (engine: string) => 'free' | 'busy' | 'away' | null;

/** Those that have ended and are shown. */
const ENDED_SHOWN = 10;

export class FleetJobs {
  private byEngine = new Map<string, Kept>();
  private isFirstLook = true;
  /** The last one first. */
  ended: FleetJob[] = [];

  /** Those that wait, run or are about to end, in the order of their ids. */
  get all(): readonly FleetJob[] {
    return [...this.byEngine.values()].sort((left, right) => left.id.localeCompare(right.id, 'en', { numeric: true }));
  }

  /** Returns the jobs that have ended since the look before. */
  take(listed: readonly JobFact[], engineOf: EngineLook, nowMs: number): FleetJob[] {
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
        // One that ran before the first look had its engine at a former life of this server.
        hasJoined: known?.hasJoined ?? (this.isFirstLook && fact.stage === 'running'),
        isCancelled: known?.isCancelled ?? false,
        withoutEngineSinceMs:
          fact.stage === 'running' && (engine === null || engine === 'away') ? (known?.withoutEngineSinceMs ?? nowMs) : null,
      };
      if (fact.stage !== 'over') this.byEngine.set(fact.engine, job);
      else if (known !== undefined) over.push(job); // one that ended before the first look was another server life's
    }
    this.isFirstLook = false;
    this.ended = [...over.toReversed(), ...this.ended].slice(0, ENDED_SHOWN);
    return over;
  }

  /** One that was asked for. It is counted as ended if the next look does not find it. */
  asked(id: string, engine: string): void {
    const fact: JobFact = { id, engine, stage: 'waiting', state: 'PENDING', reason: '', node: '', isOutdated: false };
    this.byEngine.set(engine, { ...fact, hasJoined: false, isCancelled: false, withoutEngineSinceMs: null });
  }

  /** Those that the host has forgotten. */
  private unlisted(listed: readonly JobFact[]): JobFact[] {
    const names = new Set(listed.map(({ engine }) => engine));
    const gone = [...this.byEngine.values()].filter(({ engine }) => !names.has(engine));
    return gone.map((job) => ({ ...job, stage: 'over', state: 'GONE', reason: 'it is no longer listed' }));
  }

  /** Returns whether an engine has joined since the last call. */
  noteJoined(engineOf: EngineLook): boolean {
    const joined = [...this.byEngine.values()].filter(({ engine, hasJoined }) => !hasJoined && engineOf(engine) !== null);
    for (const job of joined) job.hasJoined = true;
    return joined.length > 0;
  }

  cancelled(ids: readonly string[]): void {
    for (const job of this.byEngine.values()) if (ids.includes(job.id)) job.isCancelled = true;
  }

  views(engineOf: EngineLook, nowMs: number): JobView[] {
    return this.all.flatMap((job): JobView[] => {
      const { id, stage, engine, isOutdated, isCancelled } = job;
      if (isCancelled || (stage !== 'waiting' && stage !== 'running')) return [];
      const since = this.byEngine.get(engine)!.withoutEngineSinceMs;
      return [{ id, stage, engine: engineOf(engine) ?? 'none', withoutEngineForMs: since === null ? 0 : nowMs - since, isOutdated }];
    });
  }
}

/** A cluster gives up the jobs of a node that it can't reach. One whose engine is here all the same takes a place. */
function asSeen(fact: JobFact, engine: ReturnType<EngineLook>): JobFact {
  return fact.stage === 'over' && (engine === 'free' || engine === 'busy') ? { ...fact, stage: 'running' } : fact;
}
