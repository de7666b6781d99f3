// How a slot reaches its engine: as a process of our own, or at an address that the user named. The supervisor keeps a link up, and
// knows only this interface of it.
import type { engineV1, EspalierError } from '#protocol';
import type { ModelTransfer } from './far/far-client.js';
import type { EngineApi } from './wire/engine-client.js';
import { processorUseOf, type ProcessorUse } from './processor-use.js';
import { EngineProcess, type EngineProcessOptions } from './engine-process.js';

/** An engine that has answered. */
export interface EngineLink {
  readonly client: EngineApi;
  readonly about: engineV1.DescribeEngineResponse;
  /** The engine reads and writes this orchestrator's files, so states need not be sent. */
  readonly sharesFiles: boolean;
  /** Resolves with a sentence when its process is gone, or the connection that it dialled in by; never for an engine at a named address. */
  readonly gone: Promise<string>;
  /** It was cut off, and may come back with all that it had: its silence is no sign that it hangs. */
  isAwaited(): boolean;
  /** It does not answer. True: its connection is closed, and it is awaited for the rest of its lease. */
  awaitSilent(): boolean;
  /** The use that its process makes of the processors; null: not known. */
  processorUse(): ProcessorUse | null;
  /** Asks for a sign of life, and says that we are alive. @throws EspalierError ENGINE_ATTACHED_ELSEWHERE: it is ours no longer */
  checkHealth(timeoutMs: number): Promise<void>;
  /** Ends the engine at once, also in the middle of work. @param reason the error of later calls of its client */
  cut(reason: EspalierError): void;
  /** In good order. */
  end(): Promise<void>;
}

/** An engine that has dialled in. */
export interface JoinedFacts {
  host: string;
  /** The address that it dialled in from. */
  peer: string;
  /** When it dialled in last. */
  since: Date;
  /** The caller whose token let it in. */
  admittedAs: string;
  /** false: it was cut off, and is expected back. */
  isConnected: boolean;
  /** It has said that it ends, and takes no new work. */
  isLeaving: boolean;
  /** Files of a model that go to it; null: none. */
  transfer: ModelTransfer | null;
}

export interface EngineConnector {
  /** The user started the process, and it may come back by itself. */
  readonly isNamed: boolean;
  /** undefined: it did not dial in. */
  readonly joined?: JoinedFacts | undefined;
  /** @throws EspalierError ENGINE_UNAVAILABLE, ENGINE_ATTACHED_ELSEWHERE, ENGINE_OF_ANOTHER_USER */
  connect(signal: AbortSignal): Promise<EngineLink>;
  /** The engine's description of itself, without attaching it; null: it can't be asked. */
  look(timeoutMs: number): Promise<engineV1.DescribeEngineResponse | null>;
  /** A client for questions that touch no session; call `close` at the end. null: only an attached engine answers questions. */
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
          gone: child.gone.then((reason) => `the engine process ended: ${reason}`),
          isAwaited: () => false,
          awaitSilent: () => false,
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
