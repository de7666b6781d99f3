// The event store that everything here uses: a given one by its connection string, or the embedded one as our child, which
// is started anew on the same port when it dies or hangs; clients reconnect by themselves. How to reach
// the embedded one, password included, is told in a file that only its user can read: from there others of his stand by.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { connectEventStore, startEmbeddedEventStore, storeSecrets, type EmbeddedEventStore, type EventStore } from '#event-store';
import { EVENT_STORE_LOG, readUserFileSync } from '#files';
import { EspalierError } from '#protocol';
import type { OrchestratorConfig } from '../config.js';

/** In the data folder: the connection string of its event store. */
const ADDRESS_FILE = 'event-store.url';
const CHECK_INTERVAL_MS = 500;
/** Most looks only ask whether its process lives; every so often it must answer a call too. */
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
      const store = connectEventStore({ connectionString: connectionStringOf(config.eventStore) });
      const host = new EventStoreHost(store, null, () => Promise.reject(new Error('not embedded')), log);
      void host.watch();
      return host;
    }
    const addressFile = join(config.dataFolder, ADDRESS_FILE);
    const port = await portToUse(addressFile);
    const folder = join(config.dataFolder, 'event-store');
    const options = { folder, port, logFile: join(config.dataFolder, EVENT_STORE_LOG), ...(await storeSecrets(folder)) };
    const start = (): Promise<EmbeddedEventStore> => patientWithLock(() => startEmbeddedEventStore(options));
    const embedded = await start();
    writeFileSync(addressFile, `${embedded.connectionString}\n`);
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

/** A store whose parent was killed a moment ago may not have ended yet. */
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

const CONNECTION_FILE_BYTES_MAX = 64 << 10;

/** The address as it was given: a connection string, or a file that holds one. */
function connectionStringOf(given: string): string {
  if (given.includes('://')) return given;
  try {
    return readUserFileSync(given, CONNECTION_FILE_BYTES_MAX).toString('utf8').trim();
  } catch (error) {
    throw new EspalierError(
      'EVENT_STORE_ADDRESS_INVALID',
      `--event-store ${given} is no connection string (kurrentdb://HOST:PORT?...), and no file that holds one: ${(error as Error).message}`,
    );
  }
}

/** The port of the last time, so that a restarted store is found where the old one was; another where that is taken. */
async function portToUse(addressFile: string): Promise<number> {
  const last = existsSync(addressFile) ? /:(\d+)\?/.exec(readFileSync(addressFile, 'utf8'))?.[1] : undefined;
  return freePort(Number(last ?? 0)).catch(() => freePort(0));
}

function freePort(wanted: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
      .once('error', reject)
      .listen(wanted, '127.0.0.1', () => {
        const { port } = probe.address() as AddressInfo;
        probe.close(() => resolve(port));
      });
  });
}
