// Who may use the web server. A request shows the server's token, as a gRPC call does, or the cookie that a browser got for a
// login link. A cookie goes to whatever listens on this host, so other users of the machine may come by one: the door refuses theirs
// (api/admission/doors.ts).
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { LoginKeys, type TlsIdentity } from '#local-access';
import { EspalierError } from '#protocol';
import { OWNER, type Access, type Grant } from '../api/admission/access.js';

const COOKIE_DAYS = 30;
/** An answer or a log line quotes this much of what a client sent. */
const QUOTED_CHARACTERS_MAX = 60;

export interface WebSecrets {
  /** null: every user of this machine may call. */
  token: string | null;
  /** Outlives restarts, so that a page goes on by itself; readable by the server's user only. Another one forgets all browsers. */
  cookieKey: () => string;
  /** Tells the cookies of several servers on one host apart. */
  folderId: string;
  /** null: the pages come without TLS. */
  tls: TlsIdentity | null;
}

export class WebAccess {
  private readonly cookieName: string;
  private readonly links: LoginKeys | null;

  /** @param host that the server listens on, as it was named */
  constructor(
    private readonly access: Access,
    private readonly secrets: WebSecrets,
    private readonly host: string,
  ) {
    // A browser takes the longer name over TLS only, and from this host only.
    this.cookieName = `${secrets.tls === null ? '' : '__Host-'}espalier-${secrets.folderId.slice(0, 8)}`;
    this.links = secrets.token === null ? null : new LoginKeys(secrets.token);
  }

  /** The refusal of a request with a foreign Host: another site had its own name lead here, and the Host is that name. */
  foreignHost({ headers }: IncomingMessage): EspalierError | undefined {
    const host = headers.host ?? '';
    if (this.isOwnName(hostName(host))) return undefined;
    return new EspalierError(
      'HOST_FOREIGN',
      `the name in "Host: ${quoted(host)}" is not a name of this server; use the address that it was started with`,
    );
  }

  /** The refusal of a call with a foreign Origin: a page of another origin makes it. (Links from there are welcome.) */
  foreignOrigin({ headers }: IncomingMessage): EspalierError | undefined {
    const { origin, host = '' } = headers;
    const site = headers['sec-fetch-site'];
    const isOwn =
      origin === undefined || origin.toLowerCase() === `${this.secrets.tls === null ? 'http' : 'https'}://${host.toLowerCase()}`;
    if (isOwn && (site === undefined || site === 'same-origin' || site === 'none')) return undefined;
    return new EspalierError(
      'ORIGIN_FOREIGN',
      `pages of other origins may not call this server: "${quoted(origin ?? String(site))}" is another one`,
    );
  }

  /** An address in numbers can't be made to lead elsewhere, as a name can; any port, since it may be forwarded. */
  private isOwnName(name: string): boolean {
    if (name === '') return false;
    if (name === 'localhost' || name === this.host || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name)) return true;
    if (['0.0.0.0', '::'].includes(this.host) && isIP(name) !== 0) return true;
    return this.secrets.tls?.isFor(name) === true;
  }

  /** Who calls. @throws EspalierError where the request shows neither a token that is valid, nor a cookie that stands for one */
  grantOf({ headers }: IncomingMessage, now = Date.now()): Grant {
    if (!this.asksForLogin) return OWNER;
    const cookies = cookiesIn(headers.cookie ?? '', this.cookieName);
    if (headers.authorization !== undefined || cookies.length === 0) return this.access.byHeader(headers.authorization);
    const key = this.secrets.cookieKey();
    // Another page of this host can set one of the same name beside ours.
    const cookie = cookies.map((text) => readCookie(text, key, now)).find((one) => one !== undefined);
    if (cookie !== undefined) return cookie.tokenId === '' ? OWNER : this.access.byTokenId(cookie.tokenId);
    throw new EspalierError('LOGIN_NEEDED', 'this browser is not let in, or no longer; `espalier open` opens the page anew');
  }

  /** @throws EspalierError as `grantOf` */
  byHeader(authorization: string | undefined): Grant {
    return this.access.byHeader(authorization);
  }

  /** The cookie for the key of a login link; undefined: the key is wrong, too old or used. */
  cookieForLink(key: string, now = Date.now()): string | undefined {
    if (this.links === null || !this.links.accept(key, now)) return undefined;
    return this.cookieFor(OWNER, now);
  }

  /** It stands for the token: once that is revoked or has expired, it opens nothing. */
  cookieFor({ token }: Grant, now = Date.now()): string {
    const end = token === null ? Infinity : Date.parse(token.expiresAt);
    const until = Math.min(now + COOKIE_DAYS * 86_400_000, end);
    const stem = `${until}.${token?.tokenId ?? ''}`;
    return this.cookie(`${stem}.${signatureOf(stem, this.secrets.cookieKey())}`, Math.floor((until - now) / 1_000));
  }

  /** Makes a browser forget its cookie. */
  get noCookie(): string {
    return this.cookie('', 0);
  }

  private cookie(value: string, maxAge: number): string {
    const secure = this.secrets.tls === null ? '' : 'Secure; ';
    return `${this.cookieName}=${value}; Path=/; ${secure}HttpOnly; SameSite=Strict; Max-Age=${maxAge}`;
  }

  get asksForLogin(): boolean {
    return this.links !== null;
  }
}

/** undefined: it is not ours, or too old. Cookies of earlier releases have no token's id. */
function readCookie(cookie: string, key: string, now: number): { tokenId: string } | undefined {
  const parts = cookie.split('.');
  const signature = parts.pop() ?? '';
  const expected = Buffer.from(signatureOf(parts.join('.'), key));
  const shown = Buffer.from(signature);
  if (shown.length !== expected.length || !timingSafeEqual(shown, expected) || !(Number(parts[0]) > now)) return undefined;
  return { tokenId: parts[1] ?? '' };
}

function signatureOf(stem: string, key: string): string {
  return createHmac('sha256', key).update(`espalier cookie\n${stem}`).digest('base64url');
}

function quoted(text: string): string {
  return text.length <= QUOTED_CHARACTERS_MAX ? text : `${text.slice(0, QUOTED_CHARACTERS_MAX)}...`;
}

/** The name in a Host header; '': the header names no host, or its port is impossible. */
function hostName(host: string): string {
  if (!URL.canParse(`http://${host}`)) return '';
  return (/^\[([^\]]*)\](?::\d+)?$/.exec(host)?.[1] ?? /^([^:]*)(?::\d+)?$/.exec(host)?.[1] ?? '').toLowerCase();
}

function cookiesIn(header: string, name: string): string[] {
  return header.split(';').flatMap((part) => {
    const at = part.indexOf('=');
    return at > 0 && part.slice(0, at).trim() === name ? [part.slice(at + 1).trim()] : [];
  });
}
