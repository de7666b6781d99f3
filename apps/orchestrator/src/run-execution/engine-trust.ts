// Decides what the failures of engines mean for their next work. An engine of a user may be broken or hostile, and it must not fail
// or pause a run that another engine can train. What is known here is lost when this process ends, and then learnt again.
import { EspalierError } from '#protocol';
import type { EnginePool } from '../engine-pool/engine-pool.js';
import type { EngineSlot } from '../engine-pool/engine-slot.js';

/** After this number of attempts in a row that got nothing done, the engine is set aside. */
const FRUITLESS_MAX = 3;
/** After one of these, it would only cost time to try the engine again. */
const SET_ASIDE_AT_ONCE = new Set(['ENGINE_SILENT', 'ENGINE_HUNG']);

export interface EndedAttempt {
  /** Whether it recorded steps, or ended as the run asked for. */
  gotOn: boolean;
  /** The error for which the engine was lost, or null. */
  failure: EspalierError | null;
}

export class EngineTrust {
  /** The words with which engines refused runs, by the run and the engine's name. */
  private readonly refusals = new Map<string, Map<string, string>>();
  private readonly fruitless = new Map<EngineSlot, number>();

  constructor(private readonly pool: Pick<EnginePool, 'slots'>) {}

  /** The engines that have refused the run, each with the reason in words. */
  refusalsOf(runId: string): ReadonlyMap<string, string> {
    return this.refusals.get(runId) ?? new Map();
  }

  /**
   * Tells whether an engine's refusal ends the run. The refusal of an engine of this installation does. The refusal of a joined engine ends
   * the run only when a second engine refuses it too, or when there is no other engine.
   */
  endsRun(runId: string, slot: EngineSlot): boolean {
    if (!slot.isNamed) return true;
    const others = [...this.refusalsOf(runId).keys()].filter((name) => name !== slot.name);
    return others.length > 0 || !this.hasOther(slot);
  }

  refused(runId: string, slot: EngineSlot, { message }: EspalierError): void {
    this.refusals.set(runId, new Map([...this.refusalsOf(runId), [slot.name, `refused it: ${message}`]]));
  }

  /** Forgets the refusals of a run that got on, or ended. */
  forget(runId: string): void {
    this.refusals.delete(runId);
  }

  /** Called when an attempt at the engine has ended. */
  ended(slot: EngineSlot, { gotOn, failure }: EndedAttempt): void {
    const inARow = gotOn || failure === null ? 0 : (this.fruitless.get(slot) ?? 0) + 1;
    this.fruitless.set(slot, inARow);
    if (failure === null) return;
    if (failure.code === 'RESULT_CONTRADICTS_STATE') return slot.setAside(failure, { forGood: true });
    if (!slot.isNamed || !this.hasOther(slot)) return; // one that is alone is tried again
    if (SET_ASIDE_AT_ONCE.has(failure.code)) slot.setAside(failure);
    else if (inARow >= FRUITLESS_MAX) slot.setAside(nothingDone(inARow, failure));
  }

  private hasOther(slot: EngineSlot): boolean {
    return this.pool.slots.some((other) => other !== slot && other.setAsideFor === null && other.view().state !== 'down');
  }
}

function nothingDone(attempts: number, { code, message }: EspalierError): EspalierError {
  return new EspalierError(code, `${attempts} attempts in a row got nothing done on it, the last one so: ${message}`);
}
