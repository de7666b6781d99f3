// Every fact that is stored about tokens and logins, in the past tense. Events hold digests of tokens, never the tokens. Their bytes and
// their digest chain have the form of those of runs.
import type { CallContext } from '../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../event-sourcing/event-codec.js';
import { eventTypesOf } from '../event-sourcing/event-types.js';

/** The first three are in ascending order: each may do all that the ones before it may. An engine may only join. */
export const TOKEN_ROLES = ['viewer', 'operator', 'admin', 'engine'] as const;
export type TokenRole = (typeof TOKEN_ROLES)[number];

interface Facts {
  /** `digest` is the SHA-256 of the whole token in hex. */
  TokenCreated: { tokenId: string; name: string; role: TokenRole; digest: string; expiresAt: string };
  TokenRevoked: { tokenId: string };
  /** Ends all logins of a person that began before. `actor` is the person, as events name people. */
  LoginsEnded: { actor: string };
}
export type TokenEventType = keyof Facts;
export type NewTokenFact = {
  [T in TokenEventType]: { type: T; at: string; data: Facts[T]; context?: CallContext | undefined };
}[TokenEventType];
export type TokenEvent = (NewTokenFact & Envelope) | UnknownEvent;

export const ACCESS_STREAM_PREFIX = 'espalierAccess-';
/** All tokens of an event store are one aggregate, so that no two valid tokens have the same name. */
export const TOKENS_ID = 'tokens';

export const tokenEventTypes = eventTypesOf<TokenEventType>({ TokenCreated: true, TokenRevoked: true, LoginsEnded: true });
