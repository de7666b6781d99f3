// The link that lets a browser in. Users who know the server's token can make one. It opens the page once, within some hours. The token
// itself never reaches a browser, its history or its address bar.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export const LOGIN_PATH = '/login';
const LIFETIME_MS = 12 * 3_600_000;
const PURPOSE = 'espalier login link';

/** Returns a link; without a token it is the page itself. @param to the path of the page that opens after the login, "/runs/RUN" */
export function loginLink(page: string, token: string | null, to = '/', now = Date.now()): string {
  if (token === null) return `${page}${to}`;
  const stem = `${now + LIFETIME_MS}.${randomBytes(12).toString('base64url')}`;
  const query = new URLSearchParams({ key: `${stem}.${signature(token, stem)}`, ...(to === '/' ? {} : { to }) });
  return `${page}${LOGIN_PATH}?${query.toString()}`;
}

/** Accepts the key of each link once. */
export class LoginKeys {
  private readonly used = new Map<string, number>();

  constructor(private readonly token: string) {}

  accept(key: string, now = Date.now()): boolean {
    const [until = '', nonce = '', shown = ''] = key.split('.');
    const stem = `${until}.${nonce}`;
    const expected = Buffer.from(signature(this.token, stem));
    const given = Buffer.from(shown);
    if (given.length !== expected.length || !timingSafeEqual(given, expected) || !(Number(until) > now)) return false;
    for (const [old, end] of this.used) if (end <= now) this.used.delete(old);
    if (this.used.has(nonce)) return false;
    this.used.set(nonce, Number(until));
    return true;
  }
}

function signature(token: string, stem: string): string {
  return createHmac('sha256', token).update(`${PURPOSE}\n${stem}`).digest('base64url');
}
