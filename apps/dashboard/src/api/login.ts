// Logging in by a token, and out. The server answers with a cookie that no script can read; the page keeps no token.

interface Refusal {
  message?: string;
}

/** Returns why the server refuses the token; '': the browser is logged in. */
export async function logIn(token: string): Promise<string> {
  const shown = token.trim();
  // An HTTP header has no other characters.
  if (!/^[!-~]+$/.test(shown)) return 'A token has no spaces and no letters with accents.';
  try {
    const answer = await fetch('/login', { method: 'POST', headers: { authorization: `Bearer ${shown}` } });
    return answer.ok ? '' : (((await answer.json()) as Refusal).message ?? 'The server refuses this token.');
  } catch {
    return 'The server does not answer.';
  }
}

/** Whether the browser has forgotten its cookie. */
export async function logOut(): Promise<boolean> {
  try {
    return (await fetch('/login', { method: 'DELETE' })).ok;
  } catch {
    return false;
  }
}
