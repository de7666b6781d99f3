// The phase of a view's data:
//   loading  there is no data yet
//   waiting  there is no data, for a cause that passes: it is loaded again automatically
//   failed   there is no data, and loading again automatically would not help
//   ready    the data is there
//   stale    the data may be old, since the last answer was an error
//   locked   the browser has to log in again
export type ViewPhase = 'loading' | 'waiting' | 'failed' | 'ready' | 'stale' | 'locked';

/** A failure in words. */
export interface Trouble {
  /** The stable code, in upper snake case. */
  code: string;
  message: string;
  fields: FieldTrouble[];
  /** The server does not answer. */
  isAway: boolean;
  /** This browser is not logged in. */
  isLocked: boolean;
  /** The cause of the failure passes by itself. */
  isPassing: boolean;
  /** The page failed to load something by itself. A reader asked for nothing that failed. */
  isOfPage?: boolean;
}
export interface FieldTrouble {
  field: string;
  description: string;
}

/**
 * Tells whether a note about the failure stands where it happened. The frame of the page says once for all views that the browser is logged
 * out, and that the server is away.
 */
export const hasOwnNote = ({ isLocked, isAway, isOfPage }: Pick<Trouble, 'isLocked' | 'isAway' | 'isOfPage'>): boolean =>
  !isLocked && !(isAway && isOfPage === true);

export function viewPhase({ data, trouble }: { data: unknown; trouble: Trouble | undefined }): ViewPhase {
  if (trouble === undefined) return data === undefined ? 'loading' : 'ready';
  if (trouble.isLocked) return 'locked';
  if (data !== undefined) return 'stale';
  return trouble.isPassing ? 'waiting' : 'failed';
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 8_000;

/** Returns the time in ms before the next try; null if another try would not help. */
export function retryDelayMs(trouble: Pick<Trouble, 'isPassing'>, attempts: number): number | null {
  return trouble.isPassing ? Math.min(FIRST_RETRY_MS * 2 ** attempts, LONGEST_RETRY_MS) : null;
}
