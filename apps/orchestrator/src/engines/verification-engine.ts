// An engine for checking: never the one that trains.
import { join } from 'node:path';
import { EspalierError } from '#protocol';
import { EngineClient } from './engine-client.js';
import { EngineProcess } from './engine-process.js';

export interface BorrowedEngine {
  client: EngineClient;
  release(): Promise<void>;
}
export type BorrowEngine = (threads: number, signal: AbortSignal) => Promise<BorrowedEngine>;

/** Starts an engine process of its own, or uses the remote one while nobody trains on it. */
export function engineLender(options: {
  engine?: string | undefined;
  device?: string;
  dataFolder: string;
  onOutput?: (line: string) => void;
}): BorrowEngine {
  const { engine: address, device = 'auto', dataFolder } = options;
  return async (threads, signal) => {
    if (address === undefined || address === '') {
      const engine = await EngineProcess.start(
        { folder: join(dataFolder, 'engine'), device, threads, onOutput: options.onOutput ?? (() => undefined) },
        signal,
      );
      return { client: engine.client, release: () => engine.stop() };
    }
    const client = new EngineClient(address);
    const { sessionId } = await client.describe();
    if (sessionId === '') return { client, release: async () => client.close() };
    client.close();
    throw new EspalierError('ENGINE_BUSY', `the engine at ${address} is training; replay when it is idle`);
  };
}
