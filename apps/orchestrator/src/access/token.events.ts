// Every fact that is stored about tokens and logins, in the past tense: digests of tokens, never the tokens. Bytes and digest chain as
// those of runs.
import type { CallContext } from '../event-sourcing/call-context.js';
import type { Envelope, UnknownEvent } from '../event-sourcing/event-codec.js';
import { upcastBy, type EventTypes } from '../event-sourcing/event-types.js';

/** The first three are in ascending order: each may do what those before it may. An engine joins, and does nothing else. */
export const TOKEN_ROLES = ['viewer', 'operator', 'admin', 'engine'] as const;
export type TokenRole = (typeof TOKEN_ROLES)[number];

interface Facts {
  /** digest: SHA-256 of the whole token, in hex */
  TokenCreated: { tokenId: string; name: string; role: TokenRole; digest: string; expiresAt: string };
  TokenRevoked: { tokenId: string };
  /** All logins of a person that began before end. actor: the person, as events name people */
  LoginsEnded: { actor: string };
}
export type TokenEventType = keyof Facts;
export type NewTokenFact = {
  [T in TokenEventType]: { type: T; at: string; data: Facts[T]; context?: CallContext | undefined };
}[TokenEventType];
export type TokenEvent = (NewTokenFact & Envelope) | UnknownEvent;

export const ACCESS_STREAM_PREFIX = 'espalierAccess-';
/** All tokens of an event store are one aggregate, so that a name is taken once. */
export const TOKENS_ID = 'tokens';

/** A record, so that the compiler asks for every type. */
const knownTypes: Record<TokenEventType, true> = { TokenCreated: true, TokenRevoked: true, LoginsEnded: true };
const CURRENT_VERSION = 2; // the first one whose chain covers the events' ids (event-codec.ts)
export const tokenEventTypes: EventTypes = {
  currentVersion: CURRENT_VERSION,
  isKnown: (type) => Object.hasOwn(knownTypes, type),
  upcast: (type, from, fields) => upcastBy<TokenEventType>({}, type as TokenEventType, { from, to: CURRENT_VERSION }, fields),
};
