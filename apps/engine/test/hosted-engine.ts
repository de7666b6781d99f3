// An engine that joins a server from the test's own process. It computes as every other one does, and may alter one of its answers.
import type { sendUnaryData, UntypedHandleCall } from '@grpc/grpc-js';
import { ownVersion } from '#files';
import type { engineV1 } from '#protocol';
import { parseArguments } from '../src/arguments.js';
import { EngineLease } from '../src/engine-lease.js';
import { EngineServer } from '../src/engine-server.js';
import { engineService } from '../src/engine-service.js';
import { usualCacheFolder } from '../src/models/model-cache.js';
import { OfferedModels } from '../src/models/offered-models.js';
import { OrchestratorStream } from '../src/orchestrator-stream.js';
import { ScratchFolder } from '../src/scratch-folder.js';
import { SessionHolder } from '../src/session-holder.js';
import { HeldStates } from '../src/states/held-states.js';

type Service = engineV1.EngineServiceServer;
export type Lie = (honest: Service) => Partial<Service>;
interface Call {
  write?: (answer: object, ...more: unknown[]) => boolean;
}

/** Alters each answer of a method in place. Where `alter` returns false, the answer is never sent. */
export function lying(method: string & keyof Service, alter: (answer: never) => unknown): Lie {
  return (honest) => {
    const ask = honest[method] as unknown as (call: Call, callback?: sendUnaryData<object>) => void;
    const handler = (call: Call, callback?: sendUnaryData<object>): void => {
      const write = call.write?.bind(call);
      if (write !== undefined) call.write = (answer, ...more) => alter(answer as never) === false || write(answer, ...more);
      ask(
        call,
        callback &&
          ((error, answer, ...more) => {
            if (!answer || alter(answer as never) !== false) callback(error, answer, ...more);
          }),
      );
    };
    return { [method]: handler as UntypedHandleCall };
  };
}

const log = { info: () => undefined, warn: () => undefined, error: () => undefined } as never;

export class HostedEngine {
  private static readonly ends: Promise<void>[] = [];
  private readonly stream: OrchestratorStream;
  private readonly server: EngineServer;
  private readonly holder = new SessionHolder();
  private readonly scratch: ScratchFolder;
  private readonly joined: Promise<void>;

  /** @param joins the options of the command line: --join and --token-file */
  constructor(joins: readonly string[], name: string, lie: Lie = () => ({})) {
    const args = parseArguments([...joins, '--name', name, '--threads', '1']);
    if (!('join' in args.at)) throw new TypeError('--join is needed');
    const { device, threads, sliceBytes } = args;
    const lease = new EngineLease();
    const { holder } = this;
    const scratch = new ScratchFolder(args.scratch);
    this.scratch = scratch;
    const models = new OfferedModels({ folder: usualCacheFolder(), limitBytes: 0 }, scratch, log);
    const parts = { holder, lease, models, held: new HeldStates(), scratch, log, device, threads, sliceBytes };
    const honest = engineService({ ...parts, version: ownVersion(), onFailure: () => undefined });
    this.server = new EngineServer(Object.assign({}, honest, lie(honest)), lease);
    this.stream = new OrchestratorStream(args.at.join, this.server, log, () => lease.silenceMs);
    this.joined = this.stream.stay();
  }

  /** Leaves in good order. Rejects where the server did not let the engine in. */
  async leave(): Promise<void> {
    this.stream.sayLeaving();
    await this.holder.shutDown();
    await this.stream.leave();
    this.scratch.clear();
    await this.joined;
    const nothing = (): Promise<void> => Promise.resolve();
    HostedEngine.ends.push(this.server.stop(nothing, nothing)); // takes seconds where a call is left without an answer
  }

  /** Waits until nothing of the engines that left is open any more. */
  static async allEnded(): Promise<void> {
    await Promise.all(HostedEngine.ends.splice(0));
  }
}
