// An engine for checking: never one that trains.
import { EspalierError } from '#protocol';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { EngineProcess, type EngineProcessOptions } from '../engines/engine-process.js';
import type { EnginePool } from './engine-pool.js';
import { NO_ENGINE } from './placement.js';

export interface BorrowedEngine {
  client: EngineApi;
  release(): Promise<void>;
}
/** A recorded computation that is to be repeated. */
export interface ComputedBefore {
  threads: number;
  /** The device's name, "cpu" or "cuda:0". */
  device: string;
}
export type BorrowEngine = (before: ComputedBefore, signal: AbortSignal) => Promise<BorrowedEngine>;

/** How engine processes of our own are started. */
export interface OwnEngines {
  options: Omit<EngineProcessOptions, 'threads' | 'device'>;
  /** The devices that this orchestrator may compute on, as the options name them. */
  devices: readonly string[];
}

/** @param own null: all engines are named, and a free one is used */
export function engineLender(pool: EnginePool, own: OwnEngines | null): BorrowEngine {
  return async (before, signal) => {
    if (own !== null) {
      const engine = await startOnItsDevice(own, before, signal);
      return { client: engine.client, release: () => engine.stop() };
    }
    const idle = pool.slots.filter((one) => one.status === 'idle');
    const slot = idle.find(({ about }) => about?.backend === before.device) ?? idle[0];
    if (slot === undefined) {
      if (pool.slots.length === 0) throw new EspalierError('ENGINE_UNAVAILABLE', NO_ENGINE);
      const states = pool.slots.map(({ name, status }) => `${name} is ${status}`).join(', ');
      throw new EspalierError('ENGINE_BUSY', `no engine is free (${states}); replay when one is`);
    }
    slot.take({ doing: 'recorded steps that are computed again', runId: '' });
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

/** Only the device that computed the steps gives their bits again. If it is not there, another may compare within a tolerance. */
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
