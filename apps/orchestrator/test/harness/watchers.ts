// Many clients that follow runs over a few connections.
import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelCredentials } from '@grpc/grpc-js';
import { bearerToken, v1 } from '#protocol';
import type { TestServer } from './server.js';

const CONNECTIONS = 10;

export class Watchers {
  private readonly clients: v1.RunServiceClient[];

  constructor(server: TestServer) {
    const options = { ...bearerToken(server.token), 'grpc.use_local_subchannel_pool': 1 };
    this.clients = Array.from(
      { length: CONNECTIONS },
      () => new v1.RunServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), options),
    );
  }

  /**
   * Resolves to the steps that the watcher of this number saw, in their order, when the run has ended.
   * @param pauseMs the time for which it reads nothing after each message
   * @param onStep called with each step when it arrives
   */
  async follow(number: number, runId: string, pauseMs = 0, onStep: (step: number) => void = () => undefined): Promise<number[]> {
    const client = this.clients[number % CONNECTIONS]!;
    const call = client.watchRun(v1.WatchRunRequest.fromPartial({ runId, afterRevision: 0n }));
    const seen: number[] = [];
    for await (const { steps } of call as AsyncIterable<v1.WatchRunResponse>) {
      for (const { step } of steps) {
        seen.push(Number(step));
        onStep(Number(step));
      }
      if (pauseMs > 0) await sleep(pauseMs);
    }
    return seen;
  }

  close(): void {
    for (const client of this.clients) client.close();
  }
}

/** All steps of a run of this length, as a watcher should see them. */
export const allSteps = (count: number): number[] => Array.from({ length: count }, (_, step) => step);
