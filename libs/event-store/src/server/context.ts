import type { Access } from './access.js';
import type { Store } from './store.js';

/** The parts that every service of the server works with. */
export interface ServerContext {
  store: Store;
  access: Access;
  /** Aborted when the server stops: long-lived calls then end with UNAVAILABLE. */
  stopping: AbortSignal;
  /** Where clients reach this server, for gossip. */
  advertised: { host: string; port: number };
}
