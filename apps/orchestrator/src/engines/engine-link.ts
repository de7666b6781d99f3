// How a slot comes to its engine: a process of our own, or an address that somebody named. The supervisor keeps a link up, and
// knows no more of it than is said here.
import type { engineV1, EspalierError } from '#protocol';
import type { EngineApi } from './wire/engine-client.js';
import { processorUseOf, type ProcessorUse } from './processor-use.js';
import { EngineProcess, type EngineProcessOptions } from './engine-process.js';

/** An engine that has answered. */
export interface EngineLink {
  readonly client: EngineApi;
  readonly about: engineV1.DescribeEngineResponse;
  /** It reads and writes this orchestrator's files: states need not travel. */
  readonly sharesFiles: boolean;
  /** Resolves with the reason when its process is gone; never, where nobody can tell. */
  readonly gone: Promise<string>;
  /** The use that its process makes of the processors; null: nobody can tell. */
  processorUse(): ProcessorUse | null;
  /** Asks for a sign of life, and says that we are alive. @throws EspalierError ENGINE_ATTACHED_ELSEWHERE: it is ours no longer */
  checkHealth(timeoutMs: number): Promise<void>;
  /** At once, whatever it does. @param reason that later calls of its client end with */
  cut(reason: EspalierError): void;
  /** In good order. */
  end(): Promise<void>;
}

export interface EngineConnector {
  /** It is somebody else's process, which may come back by itself. */
  readonly isNamed: boolean;
  /** @throws EspalierError ENGINE_UNAVAILABLE, ENGINE_ATTACHED_ELSEWHERE, ENGINE_OF_ANOTHER_USER */
  connect(signal: AbortSignal): Promise<EngineLink>;
  /** The engine's description of itself, without attaching it; null: it can't be asked. */
  look(timeoutMs: number): Promise<engineV1.DescribeEngineResponse | null>;
  /** For questions that touch no session; `close` when they are answered. null: only an attached engine answers any. */
  visit(): Promise<{ client: EngineApi; about: engineV1.DescribeEngineResponse; close(): void }> | null;
}

/** Starts an engine process of our own. */
export function localEngine(options: EngineProcessOptions): EngineConnector {
  return {
    isNamed: false,
    look: () => Promise.resolve(null),
    visit: () => null,
    async connect(signal) {
      const child = await EngineProcess.start(options, signal);
      try {
        const about = await child.client.describe();
        return {
          client: child.client,
          about,
          sharesFiles: true,
          gone: child.gone,
          processorUse: () => processorUseOf(child.pid),
          checkHealth: (timeoutMs) => child.client.checkHealth(timeoutMs),
          cut: (reason) => child.kill(reason),
          end: () => child.stop(),
        };
      } catch (error) {
        child.kill();
        throw error;
      }
    },
  };
}

export const isElsewhere = (error: unknown): boolean => (error as Partial<EspalierError>).code === 'ENGINE_ATTACHED_ELSEWHERE';
