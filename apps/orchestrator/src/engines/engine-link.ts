// How a slot reaches its engine: a process that the orchestrator starts, an engine at an address that the user named, or one that has
// dialled in. The supervisor keeps a link up and knows nothing of the engine but this interface.
import type { engineV1, EspalierError } from '#protocol';
import type { ModelTransfer } from './far/far-client.js';
import type { EngineApi } from './wire/engine-client.js';
import { processorUseOf, type ProcessorUse } from '#files';
import { EngineProcess, type EngineProcessOptions } from './engine-process.js';

/** The link to an engine that has answered. */
export interface EngineLink {
  readonly client: EngineApi;
  readonly about: engineV1.DescribeEngineResponse;
  /** Whether the engine reads and writes this orchestrator's files, so that states need not be sent. */
  readonly sharesFiles: boolean;
  /**
   * Resolves with a sentence when the engine's process, or the connection by which it dialled in, is gone. For an engine at a named address
   * it never resolves.
   */
  readonly gone: Promise<string>;
  /** Tells whether the engine was cut off and may come back with all that it had. Its silence then does not mean that it hangs. */
  isAwaited(): boolean;
  /**
   * Called when the engine does not answer. Returns whether it is awaited for the rest of its lease; its connection is then closed, so
   * that it dials in again.
   */
  awaitSilent(): boolean;
  /** The engine process's use of the processors, or null where it is not known. */
  processorUse(): ProcessorUse | null;
  /**
   * Asks for a sign of life, and tells the engine that its holder lives. @throws EspalierError ENGINE_ATTACHED_ELSEWHERE where another
   * orchestrator has it now
   */
  checkHealth(timeoutMs: number): Promise<void>;
  /** Ends the engine at once, even in the middle of work. @param reason the error of later calls of its client */
  cut(reason: EspalierError): void;
  /** Ends the engine in good order. */
  end(): Promise<void>;
}

/** The facts about an engine that has dialled in. */
export interface JoinedFacts {
  host: string;
  /** The address from which the engine dialled in. */
  peer: string;
  /** The time when the engine last dialled in. */
  since: Date;
  /** The caller whose token let the engine in. */
  admittedAs: string;
  /** False while the engine is cut off and expected back. */
  isConnected: boolean;
  /** Whether the engine has said that it ends. It then takes no new work. */
  isLeaving: boolean;
  /** Whether the engine's last stream ended because the engine left, as one without work does. */
  leftInOrder: boolean;
  /** The transfer of a model's files to the engine, or null where none is under way. */
  transfer: ModelTransfer | null;
}

export interface EngineConnector {
  /** Whether the user started the process. It may then come back by itself. */
  readonly isNamed: boolean;
  /** Undefined for an engine that did not dial in. */
  readonly joined?: JoinedFacts | undefined;
  /** @throws EspalierError ENGINE_UNAVAILABLE, ENGINE_ATTACHED_ELSEWHERE, ENGINE_OF_ANOTHER_USER */
  connect(signal: AbortSignal): Promise<EngineLink>;
  /** The engine's description of itself, asked without attaching it; null where it can't be asked. */
  look(timeoutMs: number): Promise<engineV1.DescribeEngineResponse | null>;
  /**
   * Returns a client for questions that touch no session; call `close` at the end. Null where only an attached engine answers questions.
   */
  visit(): Promise<{ client: EngineApi; about: engineV1.DescribeEngineResponse; close(): void }> | null;
}

/** Connects to an engine by starting a process for it. */
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
