// The state of something that a view shows. It is in one of these:
//   loading  nothing is there yet
//   waiting  nothing is there, for a cause that passes: it is asked for again by itself
//   failed   nothing is there, and asking again by itself would not help
//   ready    it is there
//   stale    what is there may be old, since the last answer was an error
//   locked   the browser has to log in again
export type ViewPhase = 'loading' | 'waiting' | 'failed' | 'ready' | 'stale' | 'locked';

/** A failure in words. */
export interface Trouble {
  /** Stable, upper snake case. */
  code: string;
  message: string;
  fields: FieldTrouble[];
  /** The server does not answer. */
  isAway: boolean;
  /** This browser is not logged in. */
  isLocked: boolean;
  /** Its cause passes by itself. */
  isPassing: boolean;
}
export interface FieldTrouble {
  field: string;
  description: string;
}

export function viewPhase({ data, trouble }: { data: unknown; trouble: Trouble | undefined }): ViewPhase {
  if (trouble === undefined) return data === undefined ? 'loading' : 'ready';
  if (trouble.isLocked) return 'locked';
  if (data !== undefined) return 'stale';
  return trouble.isPassing ? 'waiting' : 'failed';
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 8_000;

/** How long to wait before it is asked for again; null where that would not help. */
export function retryDelayMs(trouble: Pick<Trouble, 'isPassing'>, attempts: number): number | null {
  return trouble.isPassing ? Math.min(FIRST_RETRY_MS * 2 ** attempts, LONGEST_RETRY_MS) : null;
}
