// Decides who may use the web server. A request shows a token, as a gRPC call does, or the cookie that a browser got for a login link, for
// a token, or for a person's login. Browsers send a cookie to any program that listens on this host, so other users of the machine may get
// one; the door refuses their connections (api/admission/doors.ts).
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { LOGIN_PATH, LoginKeys, type TlsIdentity } from '#local-access';
import { EspalierError } from '#protocol';
import { OWNER, type Access, type Grant } from '../api/admission/access.js';
import type { PersonCalling } from '../logins/person-calls.js';

const COOKIE_DAYS = 30;
/** In a cookie, this text stands before the id of a person's login. */
const LOGIN_PREFIX = 'login-';
/** An answer or a log line quotes at most this much of what a client sent. */
const QUOTED_CHARACTERS_MAX = 60;

export interface WebSecrets {
  /** Null where every user of this machine may call. */
  token: string | null;
  /**
   * Returns the key that signs cookies. It outlives restarts, so that open pages stay logged in. Only the server's user can read it, and a
   * new key forgets all browsers.
   */
  cookieKey: () => string;
  /** The id of the data folder, which tells the cookies of the servers on one host apart. */
  folderId: string;
  /** Null where the pages have no TLS. */
  tls: TlsIdentity | null;
}

export class WebAccess {
  private readonly cookieName: string;
  private readonly links: LoginKeys | null;

  /** @param host the host that the server listens on, as it was named */
  constructor(
    private readonly access: Access,
    private readonly secrets: WebSecrets,
    private readonly host: string,
  ) {
    // A browser accepts the longer name only over TLS and from this host.
    this.cookieName = `${secrets.tls === null ? '' : '__Host-'}espalier-${secrets.folderId.slice(0, 8)}`;
    this.links = secrets.token === null ? null : new LoginKeys(secrets.token);
  }

  /**
   * The refusal of a request with a foreign Host, or undefined. Another site can let its own name lead to this server; the Host is then
   * that name. Programs differ in which of several Hosts they read, so a request may have only one.
   */
  foreignHost({ headers, headersDistinct }: IncomingMessage): EspalierError | undefined {
    const host = headers.host ?? '';
    const hosts = headersDistinct['host']?.length ?? 0;
    if (hosts > 1) return new EspalierError('HOST_FOREIGN', `the request has ${hosts} Host headers; one is allowed`);
    if (this.isOwnName(hostName(host))) return undefined;
    return new EspalierError(
      'HOST_FOREIGN',
      `the name in "Host: ${quoted(host)}" is not a name of this server; use the address that it was started with`,
    );
  }

  /**
   * The refusal of a call with a foreign Origin, or undefined. A page of another origin has made this call. (Links from there are allowed.)
   */
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

  /**
   * Tells whether a name is one of this server. An address in numbers can't be made to lead elsewhere, as a name can. The port does not
   * matter, since it may be forwarded.
   */
  private isOwnName(name: string): boolean {
    if (name === '') return false;
    if (name === 'localhost' || name === this.host || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name)) return true;
    if (['0.0.0.0', '::'].includes(this.host) && isIP(name) !== 0) return true;
    return this.secrets.tls?.isFor(name) === true;
  }

  /** Returns the caller of a request. @throws EspalierError where the request shows neither a valid token nor a valid cookie */
  async grantOf({ headers }: IncomingMessage, now = Date.now()): Promise<Grant> {
    if (!this.asksForLogin) return OWNER;
    const cookies = cookiesIn(headers.cookie ?? '', this.cookieName);
    if (headers.authorization !== undefined || cookies.length === 0) return this.access.byHeader(headers.authorization);
    const key = this.secrets.cookieKey();
    // Another page of this host can set a cookie of the same name beside this server's.
    const cookie = cookies.map((text) => readCookie(text, key, now)).find((one) => one !== undefined);
    if (cookie?.standsFor === '') return OWNER;
    if (cookie?.standsFor.startsWith(LOGIN_PREFIX) === true) return this.access.byLoginId(cookie.standsFor.slice(LOGIN_PREFIX.length));
    if (cookie !== undefined) return this.access.byTokenId(cookie.standsFor);
    throw new EspalierError('LOGIN_NEEDED', 'this browser is not let in, or no longer; `espalier open` opens the page again');
  }

  /** @throws the errors of `grantOf` */
  byHeader(authorization: string | undefined): Promise<Grant> {
    return this.access.byHeader(authorization);
  }

  /** Returns the cookie for the key of a login link, or undefined where the key is wrong, too old or used. */
  cookieForLink(key: string, now = Date.now()): string | undefined {
    if (this.links === null || !this.links.accept(key, now)) return undefined;
    return this.cookieFor(OWNER, now);
  }

  /**
   * Returns a cookie that stands for the token or the login. Once that has ended, the cookie opens nothing. @throws EspalierError
   * TOKEN_WRONG
   */
  cookieFor(grant: Grant, now = Date.now()): string {
    const { end, standsFor } = cookieContent(grant);
    const until = Math.min(now + COOKIE_DAYS * 86_400_000, end);
    const stem = `${until}.${standsFor}`;
    return this.cookie(`${stem}.${signatureOf(stem, this.secrets.cookieKey())}`, Math.floor((until - now) / 1_000));
  }

  /** The cookie that makes a browser forget its cookie. */
  get noCookie(): string {
    return this.cookie('', 0);
  }

  private cookie(value: string, maxAge: number): string {
    return `${this.cookieName}=${value}; ${this.attributes('Strict', maxAge)}`;
  }

  private attributes(sameSite: 'Strict' | 'Lax', maxAge: number): string {
    const secure = this.secrets.tls === null ? '' : 'Secure; ';
    return `Path=/; ${secure}HttpOnly; SameSite=${sameSite}; Max-Age=${maxAge}`;
  }

  /** A cookie for the time at the provider. The browser comes back from another site, and would not show a strict cookie then. */
  wayCookie(sealed: string, maxAge: number): string {
    return `${this.cookieName}-way=${sealed}; ${this.attributes('Lax', maxAge)}`;
  }

  wayCookieIn({ headers }: IncomingMessage): string | undefined {
    return cookiesIn(headers.cookie ?? '', `${this.cookieName}-way`)[0];
  }

  /** The address to which the provider sends the browser back. Its Host is a name of this server (`foreignHost`). */
  callbackAddress({ headers }: IncomingMessage): string {
    return `${this.secrets.tls === null ? 'http' : 'https'}://${headers.host}${LOGIN_PATH}/callback`;
  }

  get asksForLogin(): boolean {
    return this.links !== null;
  }
}

/** The content of a cookie. A token of the provider can't be kept in a browser, so it gets no cookie. */
function cookieContent(grant: Grant): { end: number; standsFor: string } {
  if (grant.kind === 'owner') return { end: Infinity, standsFor: '' };
  if (grant.kind === 'token') return { end: Date.parse(grant.token.expiresAt), standsFor: grant.token.tokenId };
  const calling: PersonCalling | null = grant.kind === 'person' ? grant.calling : null;
  if (calling === null || calling.loginId === null)
    throw new EspalierError('TOKEN_WRONG', 'a token of the OpenID provider is for programs: log in by the provider instead');
  return { end: calling.endsAtMs, standsFor: LOGIN_PREFIX + calling.loginId };
}

/** Reads a cookie. Returns undefined where the cookie is not this server's or is too old. */
function readCookie(cookie: string, key: string, now: number): { standsFor: string } | undefined {
  const parts = cookie.split('.');
  const signature = parts.pop() ?? '';
  const expected = Buffer.from(signatureOf(parts.join('.'), key));
  const shown = Buffer.from(signature);
  if (shown.length !== expected.length || !timingSafeEqual(shown, expected) || !(Number(parts[0]) > now)) return undefined;
  return { standsFor: parts[1] ?? '' };
}

function signatureOf(stem: string, key: string): string {
  return createHmac('sha256', key).update(`espalier cookie\n${stem}`).digest('base64url');
}

function quoted(text: string): string {
  return text.length <= QUOTED_CHARACTERS_MAX ? text : `${text.slice(0, QUOTED_CHARACTERS_MAX)}...`;
}

/** The name in a Host header, or '' where the header names no host or an impossible port. */
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
