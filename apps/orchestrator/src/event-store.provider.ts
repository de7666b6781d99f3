// The event store that everything here uses: a given one by its connection string, or the embedded one as our child, which
// is started anew on the same port when it dies or hangs; clients reconnect by themselves.
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { connectEventStore, startEmbeddedEventStore, type EmbeddedEventStore, type EventStore } from '#event-store';
import type { OrchestratorConfig } from './config.js';

const CHECK_INTERVAL_MS = 500;
/** Every so many looks whether it lives it must answer too. */
const CHECKS_A_PING = 4;
const PING_TIMEOUT_MS = 5_000;
const SILENT_CHECKS_MAX = 3;
const LOCKED_PATIENCE_MS = 10_000;

export class EventStoreHost {
  private stopping = false;
  /** Told when the store stops answering, and when it answers again. */
  onReachable: (reachable: boolean) => void = () => undefined;
  private reachable = true;
  /** Looks in a row that had no answer. */
  private silent = 0;

  private constructor(
    readonly store: EventStore,
    private embedded: EmbeddedEventStore | null,
    private readonly start: () => Promise<EmbeddedEventStore>,
    private readonly log: Logger,
  ) {}

  static async open(config: OrchestratorConfig, log: Logger): Promise<EventStoreHost> {
    if (config.eventStore !== undefined) {
      const store = connectEventStore({ connectionString: config.eventStore });
      const host = new EventStoreHost(store, null, () => Promise.reject(new Error('not embedded')), log);
      void host.watch();
      return host;
    }
    const port = await freePort();
    const options = { folder: join(config.dataFolder, 'event-store'), port, logFile: join(config.dataFolder, 'event-store.log') };
    const start = (): Promise<EmbeddedEventStore> => patientWithLock(() => startEmbeddedEventStore(options));
    const embedded = await start();
    const host = new EventStoreHost(connectEventStore({ connectionString: embedded.connectionString }), embedded, start, log);
    void host.watch();
    return host;
  }

  get pid(): number | null {
    return this.embedded?.pid ?? null;
  }

  async close(): Promise<void> {
    this.stopping = true;
    await this.store.close();
    await this.embedded?.stop();
  }

  private async watch(): Promise<void> {
    for (let check = 1; !this.stopping; check += 1) {
      await sleep(CHECK_INTERVAL_MS, undefined, { ref: false });
      if (this.stopping) return;
      try {
        await this.look(check);
      } catch (error) {
        this.log.error({ err: error }, 'the event store could not be looked after; trying again');
      }
    }
  }

  private async look(check: number): Promise<void> {
    const alive = this.embedded === null || isAlive(this.embedded.pid);
    if (alive && check % CHECKS_A_PING !== 0) return;
    const answered = alive && (await this.answers());
    this.tell(answered);
    this.silent = answered ? 0 : this.silent + 1;
    if (this.embedded === null || (alive && this.silent < SILENT_CHECKS_MAX)) return;
    this.log.error(
      { pid: this.embedded.pid },
      alive ? 'the event store hangs and is started anew' : 'the event store died and is started anew',
    );
    if (alive) kill(this.embedded.pid);
    try {
      this.embedded = await this.start();
      this.silent = 0;
      this.tell(true);
    } catch (error) {
      this.log.error({ err: error }, 'the event store could not be started; trying again');
    }
  }

  private tell(reachable: boolean): void {
    if (reachable === this.reachable) return;
    this.reachable = reachable;
    this.onReachable(reachable);
  }

  private async answers(): Promise<boolean> {
    if (performance.now() - (this.store.appendedAtMs ?? -Infinity) < CHECKS_A_PING * CHECK_INTERVAL_MS) return true;
    return Promise.race([
      this.store.ping().then(
        () => true,
        () => false,
      ),
      sleep(PING_TIMEOUT_MS, false, { ref: false }),
    ]);
  }
}

/** A store whose parent was killed a moment ago may still be going. */
async function patientWithLock(start: () => Promise<EmbeddedEventStore>): Promise<EmbeddedEventStore> {
  for (const until = Date.now() + LOCKED_PATIENCE_MS; ;) {
    try {
      return await start();
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'STORE_LOCKED' || Date.now() > until) throw error;
      await sleep(100);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // gone meanwhile
  }
}

/** Chosen once, so that a restarted store is found where the old one was. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
      .once('error', reject)
      .listen(0, '127.0.0.1', () => {
        const { port } = probe.address() as AddressInfo;
        probe.close(() => resolve(port));
      });
  });
}
