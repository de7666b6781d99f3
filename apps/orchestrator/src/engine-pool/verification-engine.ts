// Lends an engine for verification. It is never an engine that trains.
import { EspalierError } from '#protocol';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { EngineProcess, type EngineProcessOptions } from '../engines/engine-process.js';
import type { EnginePool } from './engine-pool.js';
import { noEngineForRequest } from './placement.js';

export interface BorrowedEngine {
  client: EngineApi;
  release(): Promise<void>;
}
/** A recorded computation that is to be repeated. */
export interface ComputedBefore {
  threads: number;
  /** The name of the device, such as "cpu" or "cuda:0". */
  device: string;
}
export type BorrowEngine = (before: ComputedBefore, signal: AbortSignal) => Promise<BorrowedEngine>;

/** How this orchestrator starts engine processes of its own. */
export interface OwnEngines {
  options: Omit<EngineProcessOptions, 'threads' | 'device'>;
  /** The devices that this orchestrator may compute on, as the options name them. */
  devices: readonly string[];
}

/** @param own how to start an engine, or null where all engines are named and a free one is used */
export function engineLender(pool: EnginePool, own: OwnEngines | null): BorrowEngine {
  return async (before, signal) => {
    if (own !== null) {
      const engine = await startOnItsDevice(own, before, signal);
      return { client: engine.client, release: () => engine.stop() };
    }
    const idle = pool.slots.filter((one) => one.status === 'idle');
    const slot = idle.find(({ about }) => about?.backend === before.device) ?? idle[0];
    if (slot === undefined) {
      if (pool.slots.length === 0) throw noEngineForRequest();
      const states = pool.slots.map(({ name, status }) => `${name} is ${status}`).join(', ');
      throw new EspalierError('ENGINE_BUSY', `no engine is free (${states}); replay when one is`);
    }
    slot.occupy({ doing: 'recorded steps that are computed again', runId: '' });
    try {
      const { client } = await slot.acquire();
      const release = (): Promise<void> => {
        slot.leave({ forget: true });
        return Promise.resolve();
      };
      return { client, release };
    } catch (error) {
      slot.leave();
      throw error;
    }
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
