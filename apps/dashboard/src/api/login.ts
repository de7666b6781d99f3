// Logs the browser in, by a token or by people's login provider, and out. The server answers with a cookie that no script can read, and the
// page keeps no token.

import { accessService } from './client.js';

interface Refusal {
  message?: string;
}

/** Returns why the server refuses the token; '': the browser is logged in. */
export async function logIn(token: string): Promise<string> {
  const shown = token.trim();
  // An HTTP header can hold no other characters.
  if (!/^[!-~]+$/.test(shown)) return 'A token has no spaces and no letters with accents.';
  try {
    const answer = await fetch('/login', { method: 'POST', headers: { authorization: `Bearer ${shown}` } });
    return answer.ok ? '' : (((await answer.json()) as Refusal).message ?? 'The server refuses this token.');
  } catch {
    return 'The server does not answer.';
  }
}

/** Resolves to true if the browser has forgotten its cookie. */
export async function logOut(): Promise<boolean> {
  try {
    return (await fetch('/login', { method: 'DELETE' })).ok;
  } catch {
    return false;
  }
}

/** Returns the provider by which people log in; null: the server has none, or does not answer. */
export async function loginProvider(): Promise<{ label: string; problem: string } | null> {
  try {
    const { label, problem } = await accessService.getLoginOptions({});
    return label === '' ? null : { label, problem };
  } catch {
    return null;
  }
}

/** Returns the link to the provider, which leads back to the same view. */
export function providerLink({ pathname, search }: Pick<Location, 'pathname' | 'search'>): string {
  return `/login/start?${new URLSearchParams({ to: pathname + search }).toString()}`;
}
