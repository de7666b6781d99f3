// The caller whose request led to an event. It is stored with the event, so the digest chain covers it.

export interface CallContext {
  /**
   * The name of a user, `uid:1000` for a user without a name, `token:NAME`, `login:ISSUER:SUBJECT` for a person who has logged in, or
   * `system:espalier`. A user's name never has a colon.
   */
  actor: string;
  /** The name of a person as it was shown at that time. No rule reads it. */
  actorName?: string | undefined;
  roles: string[];
  /** The id of the call. Events of the server's own work have none. */
  requestId?: string | undefined;
}

/** The caller of the server's own work: it drives runs, records what engines have trained, and recovers. */
export const BY_SERVER: CallContext = { actor: 'system:espalier', roles: ['system'] };

/** Returns the context that an event was stored with, or undefined where it has none. */
export function readCallContext(stored: unknown): CallContext | undefined {
  if (typeof stored !== 'object' || stored === null) return undefined;
  const { actor, actorName, roles, requestId } = stored as Record<string, unknown>;
  if (typeof actor !== 'string') return undefined;
  return {
    actor,
    ...(typeof actorName === 'string' ? { actorName } : {}),
    roles: Array.isArray(roles) ? roles.filter((role) => typeof role === 'string') : [],
    ...(typeof requestId === 'string' ? { requestId } : {}),
  };
}
