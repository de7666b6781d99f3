// The official client for reads. Reads go through the client's native part, which looks for the store only once. When that node is gone,
// each later read may fail, although another node leads by then, or the same one is back. So after such a failure, reads get a new client,
// and the read that failed goes on with it.
// Appends and subscriptions have a client of their own, which looks for the leader by itself and is not disturbed.
import { KurrentDBClient, type BasicCredentials } from '@kurrent/kurrentdb-client';
import { EventStoreError, EventStoreUnavailableError } from '../event-store.errors.js';
import { connectionStringOf, loginOf, type ConnectOptions } from './connection-string.js';
import { translateError } from './errors.js';

/** The pause before another new client. The pauses grow while no node answers, because the native part frees the memory of clients late. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 60_000;

export interface Connected {
  client: KurrentDBClient;
  /** The login that is passed to each read, because for reads the client uses the login of a connection string undecoded. */
  login: { credentials?: BasicCredentials };
}

/** @throws EventStoreError EVENT_STORE_ADDRESS_INVALID */
export function connected(options: ConnectOptions): Connected {
  try {
    const connectionString = connectionStringOf(options);
    return { client: KurrentDBClient.connectionString(connectionString), login: loginOf(connectionString) };
  } catch (error) {
    const why = `this connection string of an event store can't be used: ${(error as Error).message}`;
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

  /**
   * @param readOn reads by this client, after the last item that it has yielded
   * @throws EventStoreError the translated failure, where there is no newer client to go on with
   */
  async *read<Item>(readOn: (by: Connected) => AsyncIterable<Item>): AsyncGenerator<Item> {
    for (let by = this.now; ; by = this.now) {
      try {
        yield* readOn(by);
        this.pauseMs = FIRST_PAUSE_MS;
        this.madeAt = -Infinity;
        return;
      } catch (error) {
        const named = translateError(error);
        if (named instanceof EventStoreUnavailableError && by === this.now) this.renew();
        if (!(named instanceof EventStoreUnavailableError) || by === this.now) throw named;
      }
    }
  }

  async dispose(): Promise<void> {
    await this.now.client.dispose();
  }

  private renew(): void {
    if (performance.now() - this.madeAt < this.pauseMs) return;
    if (this.madeAt !== -Infinity) this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
    this.madeAt = performance.now();
    void this.now.client.dispose();
    this.now = connected(this.options);
  }
}
