/**
 * The least time that an engine waits for its first session. On a busy machine it takes a while from an engine's start until the server has
 * let it in and has given it a run. An engine that ended before would be asked for again and again.
 */
const FIRST_SESSION_MS = 60_000;

/** The time without work after which the engine ends. */
export function idleLimitMs(idleTimeoutSeconds: number, hadSession: boolean): number {
  return Math.max(idleTimeoutSeconds * 1_000, hadSession ? 0 : FIRST_SESSION_MS);
}
