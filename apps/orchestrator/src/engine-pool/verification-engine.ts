// An engine for checking: never one that trains.
import { EspalierError } from '#protocol';
import type { EngineApi } from '../engines/wire/engine-client.js';
import { EngineProcess, type EngineProcessOptions } from '../engines/engine-process.js';
import type { EnginePool } from './engine-pool.js';

export interface BorrowedEngine {
  client: EngineApi;
  release(): Promise<void>;
}
export type BorrowEngine = (threads: number, signal: AbortSignal) => Promise<BorrowedEngine>;

/** @param local how an engine process of its own is started; null: all engines are named, and a free one is used */
export function engineLender(pool: EnginePool, local: Omit<EngineProcessOptions, 'threads'> | null): BorrowEngine {
  return async (threads, signal) => {
    if (local !== null) {
      const engine = await EngineProcess.start({ ...local, threads }, signal);
      return { client: engine.client, release: () => engine.stop() };
    }
    const slot = pool.slots.find((one) => one.status === 'idle');
    if (slot === undefined) {
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
