// Lets browsers in and out: by a login link, by a token, or by the OpenID provider of people (docs/design/logins.md).
import type { IncomingMessage, ServerResponse } from 'node:http';
import { codeToHttpStatus } from '@connectrpc/connect/protocol-connect';
import { LOGIN_PATH } from '#local-access';
import { EspalierError, reportFailure, ROLES, toEspalierError } from '#protocol';
import { requireAtLeast } from '../api/admission/access.js';
import type { Logins } from '../logins/logins.js';
import { callMetadata, toConnectError } from './connect-routes.js';
import { refuse, sendText } from './http-answers.js';
import type { WebAccess } from './web-access.js';

const START_PATH = `${LOGIN_PATH}/start`;
const CALLBACK_PATH = `${LOGIN_PATH}/callback`;
/** The longest query that is accepted. The address by which a provider sends a browser back is shorter. */
const QUERY_CHARACTERS_MAX = 8 << 10;

export function isLoginPath(path: string): boolean {
  return path === LOGIN_PATH || path === START_PATH || path === CALLBACK_PATH;
}

export class LoginPages {
  constructor(private readonly logins: Logins) {}

  async serve(path: string, access: WebAccess, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '' } = request;
    const allowed = path === LOGIN_PATH ? ['GET', 'HEAD', 'POST', 'DELETE'] : ['GET'];
    if (!allowed.includes(method)) sendText(response, 405, `only ${allowed.join(', ')} are allowed here`, { allow: allowed.join(', ') });
    else if (path === START_PATH) await this.toProvider(access, request, response);
    else if (path === CALLBACK_PATH) await this.back(access, request, response);
    else if (method === 'GET' || method === 'HEAD') await byLink(access, request, response);
    else await this.byToken(access, request, response);
  }

  private async toProvider(access: WebAccess, request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const to = ownPath(queryOf(request).get('to'));
      const { url, sealed, seconds } = await this.logins.beginOnPage(access.callbackAddress(request), to);
      const headers = { location: url.href, 'cache-control': 'no-store', 'set-cookie': access.wayCookie(sealed, seconds) };
      response.writeHead(303, headers).end();
    } catch (error) {
      refuseInWords(error, START_PATH, response);
    }
  }

  private async back(access: WebAccess, request: IncomingMessage, response: ServerResponse): Promise<void> {
    // The cookie of a login in progress is good for one return only.
    response.setHeader('set-cookie', access.wayCookie('', 0));
    try {
      const query = queryOf(request).toString();
      if (query.length > QUERY_CHARACTERS_MAX) throw new EspalierError('LOGIN_FAILED', 'the answer of the provider is too long');
      const { calling, to } = await this.logins.finishOnPage(query, access.wayCookieIn(request));
      const cookies = [access.wayCookie('', 0), access.cookieFor({ kind: 'person', calling })];
      response.writeHead(303, { location: ownPath(to), 'cache-control': 'no-store', 'set-cookie': cookies }).end();
    } catch (error) {
      refuseInWords(error, CALLBACK_PATH, response);
    }
  }

  /** POST: the page shows a token, as a call does, and the browser gets a cookie for it. DELETE: the browser forgets its cookie. */
  private async byToken(access: WebAccess, request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const foreign = access.foreignOrigin(request);
      if (foreign !== undefined) throw foreign;
      const cookie = request.method === 'DELETE' ? await this.logOut(access, request) : await this.logIn(access, request);
      response.writeHead(204, { 'cache-control': 'no-store', 'set-cookie': cookie }).end();
    } catch (error) {
      const known = toEspalierError(error);
      reportFailure(LOGIN_PATH, known, callMetadata(''));
      refuse(toConnectError(known), request, response);
    }
  }

  /** @throws EspalierError ROLE_TOO_LOW for an engine's token, with which a browser could ask for nothing */
  private async logIn(access: WebAccess, request: IncomingMessage): Promise<string> {
    const grant = await access.byHeader(request.headers.authorization);
    requireAtLeast(ROLES.viewer, grant, 'a login of a browser is');
    return access.cookieFor(grant);
  }

  /** Logs out. A person's login ends with the cookie. A token stays valid, since other browsers and programs may show it. */
  private async logOut(access: WebAccess, request: IncomingMessage): Promise<string> {
    const grant = await access.grantOf(request).catch(() => null);
    if (grant?.kind === 'person') this.logins.endOwn(grant.calling);
    return access.noCookie;
  }
}

async function byLink(access: WebAccess, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const query = queryOf(request);
  const path = ownPath(query.get('to'));
  const cookie = access.cookieForLink(query.get('key') ?? '');
  if (cookie === undefined && access.asksForLogin && !(await isLetIn(access, request))) {
    sendText(response, 403, 'This link was used already, or is too old, or the server has restarted. Get another link: espalier open');
    return;
  }
  response.writeHead(303, { location: path, 'cache-control': 'no-store', ...(cookie === undefined ? {} : { 'set-cookie': cookie }) });
  response.end();
}

function isLetIn(access: WebAccess, request: IncomingMessage): Promise<boolean> {
  return access.grantOf(request).then(
    () => true,
    () => false,
  );
}

function queryOf({ url = '' }: IncomingMessage): URLSearchParams {
  return new URLSearchParams(url.split('?')[1] ?? '');
}

/** Returns a path of this page, or '/'. Browsers take a path that begins with two slashes, or has a backslash, for another host's. */
function ownPath(to: string | null): string {
  return to !== null && /^\/(?![/\\])[\w\-./?=&%]*$/.test(to) ? to : '/';
}

/** Refuses in words for the person who looks at the browser. */
function refuseInWords(error: unknown, path: string, response: ServerResponse): void {
  const known = toEspalierError(error);
  reportFailure(path, known, callMetadata(''));
  sendText(response, codeToHttpStatus(toConnectError(known).code), `${known.message} (${known.code})\n\nThe page of this server: /`);
}
