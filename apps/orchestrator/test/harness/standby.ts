// The parts that tests of two orchestrators on one event store share.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEmbeddedEventStore, type EmbeddedEventStore } from '#event-store';
import { v1 } from '#protocol';
import { codeOf, HANGS_AFTER_MS, TestServer, unary } from './server.js';

/** The lease is long enough for a busy machine to renew it, and short enough to wait for its end. */
export const LEASE_SECONDS = 4;

export const RUN: Partial<v1.RunSettings> = { totalSteps: 160, warmupSteps: 80 };

/** Two servers on one event store, as on two machines. The first one drives at first. */
export class TwoServers {
  eventStore!: EmbeddedEventStore;
  servers!: TestServer[];
  /** The state that an undisturbed run ends with. */
  undisturbed = '';
  private readonly folder = mkdtempSync(join(tmpdir(), 'espalier-shared-'));

  async start(): Promise<void> {
    this.eventStore = await startEmbeddedEventStore({ folder: this.folder });
    const env = { ESPALIER_EVENT_STORE: this.eventStore.connectionString, ESPALIER_LEASE_SECONDS: String(LEASE_SECONDS) };
    this.servers = [TestServer.inNewFolder(env), TestServer.inNewFolder(env)];
    for (const server of this.servers) await server.start();
  }

  /** Trains a run to which others are compared. */
  async trainUndisturbed(): Promise<void> {
    const [driver] = this.servers;
    this.undisturbed = (await driver!.completed((await driver!.launch(RUN)).runId)).stateDigest;
  }

  async dispose(): Promise<void> {
    for (const server of this.servers) await server.dispose();
    await this.eventStore.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Returns 'done', or the error of a refused call. */
export const refusal = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'done',
    (error: unknown) => error,
  );

/** Tells whether the server drives. A standby refuses to pause a run before it looks which run. */
export async function drives(server: TestServer): Promise<boolean> {
  const error = await refusal(unary<v1.PauseRunResponse>((cb) => server.runs.pauseRun({ runId: 'zzzzzz' }, cb)));
  return codeOf(error) !== 'ORCHESTRATOR_STANDBY';
}

export async function untilDriving(server: TestServer): Promise<void> {
  for (const until = Date.now() + HANGS_AFTER_MS; Date.now() < until;) {
    if (await drives(server)) return;
    await sleep(100);
  }
  throw new Error(`it never took over:\n${server.logTail()}`);
}
