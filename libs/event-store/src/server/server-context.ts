import type { Access } from './stream-access.js';
import type { Store } from './store/store.js';

/** The parts that every service of the server uses. */
export interface ServerContext {
  store: Store;
  access: Access;
  /** Aborted when the server stops. Long-lived calls then end with UNAVAILABLE. */
  stopping: AbortSignal;
  /** The address at which clients reach this server, for gossip. */
  advertised: { host: string; port: number };
}
