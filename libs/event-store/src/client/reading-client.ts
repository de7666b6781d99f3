// The official client as reads use it. They go through its native part, which asks a cluster once who leads: when that node is gone, each
// later read fails, although another node leads by then. So a cluster gets a new client after such a failure. The appends and subscriptions
// of the other client look for the leader by themselves, and are not disturbed.
import { KurrentDBClient, type BasicCredentials } from '@kurrent/kurrentdb-client';
import { EventStoreError, EventStoreUnavailableError } from '../event-store.errors.js';
import { connectionStringOf, loginOf, namesCluster, type ConnectOptions } from './connection-string.js';
import { translateError } from './errors.js';

/** While no node answers, clients are made ever more seldom: the native part frees their memory late. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 60_000;

export interface Connected {
  client: KurrentDBClient;
  /** Given to each read: for reads the client takes the login of a connection string undecoded. */
  login: { credentials?: BasicCredentials };
}

/** @throws EventStoreError EVENT_STORE_ADDRESS_INVALID */
export function connected(options: ConnectOptions): Connected {
  const connectionString = connectionStringOf(options);
  try {
    return { client: KurrentDBClient.connectionString(connectionString), login: loginOf(connectionString) };
  } catch (error) {
    const why = `this is no connection string of an event store: ${(error as Error).message}`;
    throw new EventStoreError('EVENT_STORE_ADDRESS_INVALID', why, { cause: error });
  }
}

export class ReadingClient {
  private now: Connected;
  private pauseMs = FIRST_PAUSE_MS;
  private madeAt = -Infinity;

  constructor(private readonly options: ConnectOptions) {
    this.now = connected(options);
  }

  get current(): Connected {
    return this.now;
  }

  answered(): void {
    this.pauseMs = FIRST_PAUSE_MS;
    this.madeAt = -Infinity;
  }

  /** The failure of a read in our words. @param by the client that the read began with */
  failure(error: unknown, by: Connected): EventStoreError {
    const named = translateError(error);
    if (named instanceof EventStoreUnavailableError && by === this.now) this.renew();
    return named;
  }

  async dispose(): Promise<void> {
    await this.now.client.dispose();
  }

  private renew(): void {
    if (!namesCluster(this.options.connectionString) || performance.now() - this.madeAt < this.pauseMs) return;
    if (this.madeAt !== -Infinity) this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
    this.madeAt = performance.now();
    void this.now.client.dispose();
    this.now = connected(this.options);
  }
}
