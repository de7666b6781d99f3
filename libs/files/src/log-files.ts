/** The logs in a data folder: of the orchestrator with its engines, and of the embedded event store. */
export const SERVER_LOG = 'server.log';
export const EVENT_STORE_LOG = 'event-store.log';
export const LOG_FILES = [SERVER_LOG, EVENT_STORE_LOG] as const;

/** Where the beginning of a log lies once it has become long. */
export function olderLog(path: string): string {
  return `${path}.1`;
}
