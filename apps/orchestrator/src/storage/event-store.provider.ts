// The event store that the whole server uses. It is either a given one, by its connection string, or the embedded one: a child process,
// which is started again when it dies or hangs. The embedded store gets its former port, or any free one where another program has taken
// that; its clients follow. A file that only the user can read tells how to reach it, password included, so the user's other orchestrators
// can stand by. A client never takes the store of another data folder for its own, since that one has another certificate.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import {
  connectEventStore,
  startEmbeddedEventStore,
  storeSecrets,
  type ConnectedEventStore,
  type EmbeddedEventStore,
  type EmbeddedEventStoreOptions,
} from '#event-store';
import { EVENT_STORE_LOG, processorUseOf, readUserFileSync } from '#files';
import { EspalierError } from '#protocol';
import type { OrchestratorConfig } from '../config.js';
import { StorePatience } from './store-patience.js';

/** The file in the data folder with the connection string of its event store. */
const ADDRESS_FILE = 'event-store.url';
const CHECK_INTERVAL_MS = 500;
/** Most checks only look whether the store's process lives. After this number of checks, the store must also answer a call. */
const CHECKS_PER_PING = 4;
const PING_TIMEOUT_MS = 5_000;
const LOCKED_PATIENCE_MS = 10_000;

/** Where the store is. `pid` is the process that this server ends, or null where the store belongs to another. */
type ReachedStore = Pick<EmbeddedEventStore, 'connectionString' | 'stop'> & { pid: number | null };

export class EventStoreHost {
  private stopping = false;
  /** Called when the store stops answering, and when it answers again. */
  onReachable: (reachable: boolean) => void = () => undefined;
  private reachable = true;
  private readonly patience = new StorePatience();
  /** The reason why the store does not answer, in words that were logged; '' while it answers. */
  private problem = '';
  /** The time by which this process's own timers were late since the last ping. */
  private lateMs = 0;

  readonly store: ConnectedEventStore;

  private constructor(
    private reached: ReachedStore,
    private readonly reach: () => Promise<ReachedStore>,
    private readonly log: Logger,
  ) {
    this.store = connectEventStore(reached);
  }

  static async open({ eventStore, dataFolder }: OrchestratorConfig, log: Logger): Promise<EventStoreHost> {
    const reach = eventStore === undefined ? await embeddedIn(dataFolder, log) : () => othersAt(eventStore);
    const host = new EventStoreHost(await reach(), reach, log);
    void host.watch();
    return host;
  }

  /** The process id of the embedded store, or null where the store is not embedded. */
  get pid(): number | null {
    return this.reached.pid;
  }

  async close(): Promise<void> {
    this.stopping = true;
    await this.store.close();
    await this.reached.stop();
  }

  private async watch(): Promise<void> {
    for (let check = 1; !this.stopping; check += 1) {
      await this.pause(CHECK_INTERVAL_MS);
      if (this.stopping) return;
      try {
        await this.look(check);
      } catch (error) {
        this.log.error({ err: error }, 'the event store could not be checked; trying again');
      }
    }
  }

  private async look(check: number): Promise<void> {
    const { pid } = this.reached;
    const alive = pid === null || isAlive(pid);
    if (alive && check % CHECKS_PER_PING !== 0) return;
    const answered = alive && (await this.answers());
    const { lateMs } = this;
    this.lateMs = 0;
    this.setReachable(answered);
    if (answered) this.patience.answered();
    if (answered || this.stopping) return;
    if (pid !== null) {
      if (alive && !this.patience.isOver({ nowMs: performance.now(), workedMs: workOf(pid), lateMs })) return;
      this.log.error({ pid }, alive ? 'the event store hangs and is started again' : 'the event store died and is started again');
      if (alive) kill(pid);
      this.patience.startsAgain();
    }
    try {
      await this.reachAgain();
    } catch (error) {
      this.log.error({ err: error }, 'the event store could not be started or found; trying again');
    }
  }

  /** Starts the embedded store again. The store of another server may have been started again, too; its file then names another address. */
  private async reachAgain(): Promise<void> {
    const before = this.reached.connectionString;
    this.reached = await this.reach();
    const { connectionString, pid } = this.reached;
    // A client that met a store in the middle of its start may never find it again, so a store that was started again gets a new one.
    if (pid !== null || connectionString !== before) this.store.moveTo(connectionString);
    if (connectionString !== before) this.log.warn('the event store is found at another address now');
    if (pid !== null) this.setReachable(await this.answers()); // otherwise the next check tells whether the store answers there
  }

  private async pause(ms: number): Promise<void> {
    const until = performance.now() + ms;
    await sleep(ms, undefined, { ref: false });
    this.lateMs = Math.max(this.lateMs, performance.now() - until);
  }

  private setReachable(reachable: boolean): void {
    if (reachable === this.reachable) return;
    this.reachable = reachable;
    this.onReachable(reachable);
  }

  private async answers(): Promise<boolean> {
    if (performance.now() - (this.store.appendedAtMs ?? -Infinity) < CHECKS_PER_PING * CHECK_INTERVAL_MS) return true;
    const asked = this.store.ping().then(
      () => '',
      (error: unknown) => (error as Error).message,
    );
    const late = this.pause(PING_TIMEOUT_MS).then(() => `it does not answer within ${PING_TIMEOUT_MS / 1_000} s`);
    const problem = await Promise.race([asked, late]);
    if (problem !== '' && problem !== this.problem) this.log.warn({ pid: this.reached.pid, problem }, 'the event store does not answer');
    this.problem = problem;
    return problem === '';
  }
}

/** Starts a store. One whose parent was killed a moment ago may not have ended yet and still hold the lock, so this waits a while. */
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

/** The milliseconds in which the store's threads worked or waited for a processor, or null where that is not known. */
function workOf(pid: number): number | null {
  const use = processorUseOf(pid);
  return use === null ? null : use.ranMs + use.waitedMs;
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
    // the process has ended in the meantime
  }
}

const CONNECTION_FILE_BYTES_MAX = 64 << 10;

/** @param given a connection string, or a file that holds one */
function othersAt(given: string): Promise<ReachedStore> {
  return Promise.resolve({ connectionString: connectionStringOf(given), pid: null, stop: () => Promise.resolve() });
}

/** The connection string, read from a file where `given` names one. */
function connectionStringOf(given: string): string {
  if (given.includes('://')) return given;
  try {
    return readUserFileSync(given, CONNECTION_FILE_BYTES_MAX).toString('utf8').trim();
  } catch (error) {
    throw new EspalierError(
      'EVENT_STORE_ADDRESS_INVALID',
      `--event-store ${given} is neither a connection string (kurrentdb://HOST:PORT?...) nor a file with one: ${(error as Error).message}`,
    );
  }
}

async function embeddedIn(dataFolder: string, log: Logger): Promise<() => Promise<ReachedStore>> {
  const addressFile = join(dataFolder, ADDRESS_FILE);
  const folder = join(dataFolder, 'event-store');
  const options = { folder, logFile: join(dataFolder, EVENT_STORE_LOG), ...(await storeSecrets(folder)) };
  return async () => {
    const started = await patientWithLock(() => startAtAnyPort(options, lastPort(addressFile)));
    writeAddressFile(addressFile, started.connectionString, log);
    return started;
  };
}

/**
 * The port that the store had last, so that clients find a restarted store at the same place. 0, which means any port, where there was no
 * store.
 */
function lastPort(addressFile: string): number {
  return Number(existsSync(addressFile) ? (/:(\d+)\?/.exec(readFileSync(addressFile, 'utf8'))?.[1] ?? 0) : 0);
}

async function startAtAnyPort(options: EmbeddedEventStoreOptions, wanted: number): Promise<EmbeddedEventStore> {
  try {
    return await startEmbeddedEventStore({ ...options, port: wanted });
  } catch (error) {
    if (wanted === 0 || (error as { code?: unknown }).code !== 'STORE_ADDRESS_UNUSABLE') throw error;
    return startEmbeddedEventStore({ ...options, port: 0 }); // another program has that port now
  }
}

/**
 * Writes the address to its file. Only standby orchestrators need the file, so a full disk must not keep the store from starting.
 */
function writeAddressFile(file: string, address: string, log: Logger): void {
  try {
    if (!existsSync(file) || readFileSync(file, 'utf8').trim() !== address) writeFileSync(file, `${address}\n`);
  } catch (error) {
    log.error({ err: error, file }, 'the address of the event store could not be written');
  }
}
