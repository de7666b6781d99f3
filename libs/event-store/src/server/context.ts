import type { Access } from './access.js';
import type { Store } from './store.js';

export interface Limits {
  /** Largest append, all its events together. */
  maxAppendBytes: number;
  /** Largest single event. */
  maxEventBytes: number;
}

/** The parts that every service of the server works with. */
export interface ServerContext {
  store: Store;
  access: Access;
  limits: Limits;
  /** Aborted when the server stops: long-lived calls then end with UNAVAILABLE. */
  stopping: AbortSignal;
  /** Where clients reach this server, for gossip. */
  advertised: { host: string; port: number };
}
