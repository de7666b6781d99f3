// A person who calls, and the calls that are open.
import { EspalierError } from '#protocol';
import type { Person } from './person.js';

/** A person who calls. */
export interface PersonCalling {
  person: Person;
  by: 'browser' | 'device' | 'token';
  /** null: the call shows a token of the provider. */
  loginId: string | null;
  beganAtMs: number;
  trustedUntilMs: number;
  endsAtMs: number;
}

/** Calls that are open end by this. */
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
