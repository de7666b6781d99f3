// Lends an engine for verification. It is never an engine that trains.
import { EspalierError } from '#protocol';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { EngineProcess, type EngineProcessOptions } from '../engines/engine-process.js';
import type { EnginePool } from './engine-pool.js';
import type { EngineSlot } from './engine-slot.js';
import { noEngineForRequest } from './placement.js';

export interface BorrowedEngine {
  client: EngineApi;
  /** The name of its slot, or '' for a process that was started for the verification. */
  name: string;
  /** Whether it is known to be another engine than the one that computed the steps. */
  isOther: boolean;
  /** Whether no further engine follows. */
  isLast: boolean;
}
/** A recorded computation that is to be repeated. */
interface ComputedBefore {
  threads: number;
  /** The name of the device, such as "cpu" or "cuda:0". */
  device: string;
  engineName: string;
}
/** Lends one engine after another, the most trustworthy first. Each is given back when the next is asked for, or at the end. */
export type BorrowEngines = (before: ComputedBefore, signal: AbortSignal) => AsyncGenerator<BorrowedEngine, void>;

/** How this orchestrator starts engine processes of its own. */
export interface OwnEngines {
  options: Omit<EngineProcessOptions, 'threads' | 'device'>;
  /** The devices that this orchestrator may compute on, as the options name them. */
  devices: readonly string[];
}

/**
 * Lends idle engines other than the one that computed the steps first, and then the server's own.
 * @param own how to start an engine, or null where all engines are named and a free one is used
 */
export function engineLender(pool: EnginePool, own: OwnEngines | null): BorrowEngines {
  return async function* (before, signal) {
    const isFree = (slot: EngineSlot): boolean => slot.view().state === 'free' && slot.status === 'idle';
    const rank = ({ name, about }: EngineSlot): number => (name === before.engineName ? 2 : 0) + (about?.backend === before.device ? 0 : 1);
    const idle = pool.slots.filter(isFree).toSorted((left, right) => rank(left) - rank(right));
    // A process of the server stands in for its own slots, which may train again at any time.
    const wanted = own === null ? idle : idle.filter((slot) => slot.isNamed && rank(slot) === 0);
    for (const [index, slot] of wanted.entries()) {
      if (!isFree(slot)) continue; // it got work in the meantime
      const isLast = own === null && index === wanted.length - 1;
      slot.occupy({ doing: 'recorded steps that are computed again', runId: '' });
      try {
        const { client } = await slot.acquire().catch((error: unknown) => {
          if (isLast) throw error;
          return { client: null }; // it was lost just now
        });
        if (client !== null) yield { client, name: slot.name, isOther: slot.name !== before.engineName, isLast };
      } finally {
        slot.leave({ forget: true });
      }
    }
    if (own !== null) {
      // The process shares the memory of the machine with the idle engines, which may still hold the run that is computed again.
      await Promise.all(pool.slots.filter((slot) => isFree(slot) && !slot.isNamed).map(async (slot) => slot.freeMemory()));
      const wasOurs = pool.slots.some(({ name, isNamed }) => name === before.engineName && !isNamed);
      const engine = await startOnItsDevice(own, before, signal);
      try {
        yield { client: engine.client, name: '', isOther: !wasOurs, isLast: true };
      } finally {
        await engine.stop();
      }
      return;
    }
    if (wanted.length > 0) return;
    if (pool.slots.length === 0) throw noEngineForRequest();
    const states = pool.slots.map(({ name, status }) => `${name} is ${status}`).join(', ');
    throw new EspalierError('ENGINE_BUSY', `no engine is free (${states}); replay when one is`);
  };
}

/**
 * Starts an engine on the device that computed the steps, since only this device gives their bits again. Where it is not there, the engine
 * uses another device, and results are compared within a tolerance.
 */
async function startOnItsDevice({ options, devices }: OwnEngines, { threads, device }: ComputedBefore, signal: AbortSignal) {
  if (devices.includes(device)) return EngineProcess.start({ ...options, device, threads }, signal);
  const engine = await EngineProcess.start({ ...options, device: devices[0]!, threads }, signal);
  try {
    const about = await engine.client.describe();
    const isOpenToUs = devices.includes('auto') && about.devices.some(({ name, problem }) => name === device && problem === '');
    if (about.backend === device || !isOpenToUs) return engine;
  } catch (error) {
    await engine.stop();
    throw error;
  }
  await engine.stop();
  return EngineProcess.start({ ...options, device, threads }, signal);
}
