import type { ConnectOptions } from './client/connection-string.js';
import { KurrentEventStore } from './client/kurrent-event-store.js';
import type { ConnectedEventStore } from './event-store.js';

export type * from './event-store.js';
export {
  EmbeddedStoreError,
  EventCorruptError,
  EventStoreError,
  EventStoreUnavailableError,
  WrongExpectedRevisionError,
} from './event-store.errors.js';
export { endOf, readPastDamage } from './read-past-damage.js';
export { lastSeenEvent, missingIn, missingText, SeenEvents, type MissingEvents, type SeenEvent } from './seen/seen-events.js';
export { notingStore } from './seen/seen-event-store.js';
export { storeSecrets, type StoreSecrets } from './embedded/secrets.js';
export { startEmbeddedEventStore, type EmbeddedEventStore, type EmbeddedEventStoreOptions } from './embedded/start.js';
export {
  backupEmbeddedEventStore,
  checkEmbeddedBackup,
  embeddedEventStoreStats,
  hasEmbeddedEventStore,
  requireKnownSchema,
  restoreEmbeddedEventStore,
  STORE_NAME_STREAM,
  verifyEmbeddedEventStore,
  type BackupReport,
  type EmbeddedEventStoreStats,
  type StoreProblem,
  type VerifyReport,
} from './embedded/maintenance.js';
export type { ConnectOptions };

/** Makes a client. It connects to the server at its first call. */
export function connectEventStore(options: ConnectOptions): ConnectedEventStore {
  return new KurrentEventStore(options);
}
