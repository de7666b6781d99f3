/** The logs in a data folder: one of the orchestrator and its engines, one of the embedded event store. */
export const SERVER_LOG = 'server.log';
export const EVENT_STORE_LOG = 'event-store.log';
export const LOG_FILES = [SERVER_LOG, EVENT_STORE_LOG] as const;

/** The file that holds the older part of a log. A log that has become long is moved there. */
export function olderLog(path: string): string {
  return `${path}.1`;
}
