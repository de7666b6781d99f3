// A person who calls, and the person's open calls.
import { EspalierError } from '#protocol';
import type { Person } from './person.js';

/** A person who calls, the way in which the person logged in, and the time until which the server trusts the login. */
export interface PersonCalling {
  person: Person;
  by: 'browser' | 'device' | 'token';
  /** Null where the call shows a token of the provider. */
  loginId: string | null;
  beganAtMs: number;
  trustedUntilMs: number;
  endsAtMs: number;
}

/** The hold of an open call. The signal aborts when the login ends, and `release` says that the call has ended. */
export interface Hold {
  signal: AbortSignal;
  release: () => void;
}

export interface OpenCalls {
  ending: AbortController;
  count: number;
}

export const noCalls = (): OpenCalls => ({ ending: new AbortController(), count: 0 });

export function holdOf(calls: OpenCalls): Hold {
  calls.count += 1;
  return { signal: calls.ending.signal, release: () => void (calls.count -= 1) };
}

export function ended(why: string): EspalierError {
  return new EspalierError('LOGIN_ENDED', `this login is over: ${why}. Log in again`);
}
