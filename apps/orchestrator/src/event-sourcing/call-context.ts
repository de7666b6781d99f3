// The caller who asked for the fact of an event. It is stored with the event, so the digest chain covers it.

export interface CallContext {
  /**
   * A user's name, `uid:1000` where it has none, `token:NAME`, `login:ISSUER:SUBJECT` for a person who has logged in, or `system:espalier`.
   * No user's name has a colon.
   */
  actor: string;
  /** The name of a person, as it was shown at that time. It decides nothing. */
  actorName?: string | undefined;
  roles: string[];
  /** The id of the call that asked for it; events of the server's own have none. */
  requestId?: string | undefined;
}

/** The server's own work: it drives runs, records what the engine has trained, recovers. */
export const BY_SERVER: CallContext = { actor: 'system:espalier', roles: ['system'] };

/** The context that an event was stored with; undefined in events of earlier releases. */
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
