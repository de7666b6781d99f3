// A real OpenID provider (oidc-provider, certified) in the process of the test, and the browser of a person who logs in there. The provider
// warns that its present settings are for trials, which a test is.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createListener, type AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, importJWK, SignJWT, type JWK, type JWTPayload } from 'jose';
import Provider, { type Configuration, type KoaContextWithOIDC } from 'oidc-provider';

export const CLIENT = { id: 'espalier', secret: 'the-secret-of-the-client-0123456789' };
export const OTHER_CLIENT = { id: 'another-program', secret: 'the-secret-of-another-0123456789' };
export const ALGORITHM = 'ES256';

export interface Account {
  name: string;
  groups: string[];
}

export async function freePort(): Promise<number> {
  const listener = createListener().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  listener.close();
  await once(listener, 'close');
  return port;
}

async function signingKey(kid: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair(ALGORITHM, { extractable: true });
  return { ...(await exportJWK(privateKey)), kid, alg: ALGORITHM, use: 'sig' };
}

export interface ProviderOptions {
  redirectUris: string[];
  /** The certificate and key in PEM. Without them the provider has no TLS. */
  tls?: { cert: string; key: string };
}

export class OpenIdProvider {
  /** The accounts by subject. */
  readonly accounts = new Map<string, Account>();
  /** The subject of the person at the browser. */
  person = '';
  idTokenSeconds = 3_600;
  /** The number of requests to the provider, by path. */
  readonly asked = new Map<string, number>();
  /** How far the Date header of answers is ahead of the clock. */
  aheadMs = 0;
  private keys: JWK[] = [];
  private server: Server | null = null;
  private makeServer: () => Server = () => createServer();

  constructor(readonly port: number) {}

  get issuer(): string {
    return `${this.scheme}://127.0.0.1:${this.port}`;
  }

  private scheme = 'http';

  async start(options: ProviderOptions): Promise<void> {
    this.scheme = options.tls === undefined ? 'http' : 'https';
    if (this.keys.length === 0) this.keys = [await signingKey('first')];
    for (const level of ['warn', 'info'] as const) jest.spyOn(console, level).mockImplementation(() => undefined);
    const provider = new Provider(this.issuer, this.configuration(options));
    provider.use(async (context, next) => {
      this.asked.set(context.path, this.askedFor(context.path) + 1);
      const uid = /^\/interaction\/([\w-]+)$/.exec(context.path)?.[1];
      if (uid !== undefined) {
        await provider.interactionFinished(context.req, context.res, { login: { accountId: this.person } });
        context.respond = false;
        return;
      }
      await next();
      if (this.aheadMs !== 0) context.set('date', new Date(Date.now() + this.aheadMs).toUTCString());
      // The person is faster here than the usual five seconds.
      if (context.path === '/device/auth' && context.status === 200) Object.assign(context.body as object, { interval: 0.1 });
    });
    const handler = provider.callback();
    const listener = (request: IncomingMessage, response: ServerResponse): void => void handler(request, response);
    this.makeServer = () => (options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener));
    await this.goOn();
  }

  /** Goes on after a stop, with everything that the provider knew. */
  async goOn(): Promise<void> {
    this.server = this.makeServer().listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
  }

  async stop(): Promise<void> {
    const { server } = this;
    this.server = null;
    if (server === null) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }

  askedFor(path: string): number {
    return this.asked.get(path) ?? 0;
  }

  /** A token of a provider that does not answer yet. */
  async signedBeforeStart(): Promise<string> {
    if (this.keys.length === 0) this.keys = [await signingKey('first')];
    return this.signed({ sub: 'any' });
  }

  /** From the next start on, the provider signs with another key and has forgotten the one before. */
  async rotateKeys(): Promise<void> {
    this.keys = [await signingKey(`key-${Date.now()}`)];
  }

  /** A token as the provider would sign it. */
  async signed(claims: JWTPayload, header: { typ?: string } = {}, key = this.keys[0]!): Promise<string> {
    const now = Math.floor(Date.now() / 1_000);
    return new SignJWT({ iss: this.issuer, aud: CLIENT.id, iat: now, exp: now + 300, ...claims })
      .setProtectedHeader({ alg: ALGORITHM, kid: key.kid!, ...header })
      .sign(await importJWK(key, ALGORITHM));
  }

  /** A key with the name of the provider's key, but made elsewhere. */
  async forgedKey(): Promise<JWK> {
    return { ...(await signingKey(this.keys[0]!.kid!)) };
  }

  publicKey(): JWK {
    const { kty, crv, x, y, kid } = this.keys[0]!;
    return { kty: kty!, crv: crv!, x: x!, y: y!, kid: kid! };
  }

  private configuration({ redirectUris }: ProviderOptions): Configuration {
    const common = {
      redirect_uris: redirectUris,
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code' as const],
      id_token_signed_response_alg: ALGORITHM as 'ES256',
    };
    return {
      clients: [
        { client_id: CLIENT.id, client_secret: CLIENT.secret, ...common },
        { client_id: OTHER_CLIENT.id, client_secret: OTHER_CLIENT.secret, ...common },
      ],
      jwks: { keys: this.keys },
      scopes: ['openid', 'profile', 'groups'],
      claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'] },
      findAccount: (_context, sub) => {
        const account = this.accounts.get(sub);
        if (account === undefined) return undefined;
        return { accountId: sub, claims: () => ({ sub, preferred_username: account.name, groups: account.groups }) };
      },
      features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true }, revocation: { enabled: true } },
      interactions: { url: (_context, { uid }) => `/interaction/${uid}` },
      loadExistingGrant: (context) => grantAll(context),
      issueRefreshToken: () => true,
      rotateRefreshToken: true,
      ttl: {
        IdToken: () => this.idTokenSeconds,
        ...{
          AccessToken: 3_600,
          RefreshToken: 86_400,
          Session: 86_400,
          Grant: 86_400,
          Interaction: 600,
          DeviceCode: 600,
          AuthorizationCode: 60,
        },
      },
      cookies: { keys: ['of-the-test'] },
      enabledJWA: { idTokenSigningAlgValues: [ALGORITHM] },
    };
  }
}

/** Grants the client everything that it may have, without asking the person. */
async function grantAll(context: KoaContextWithOIDC) {
  const { provider, client, session } = context.oidc;
  const grant = new provider.Grant({ clientId: client!.clientId, accountId: session!.accountId! });
  grant.addOIDCScope('openid profile groups');
  await grant.save();
  return grant;
}

/** Follows servers' answers as a browser does: cookies by host and port, redirects, and the forms of the provider. */
export class Browser {
  private readonly cookies = new Map<string, Map<string, string>>();

  /** Opens the address and follows redirects until a page comes, or an address for which `stops` holds. */
  async go(address: string, stops: (address: URL) => boolean = () => false): Promise<{ address: URL; answer: Response | null }> {
    let url = new URL(address);
    for (let hop = 0; hop < 20; hop += 1) {
      if (stops(url)) return { address: url, answer: null };
      const answer = await this.ask(url, 'GET');
      const location = answer.headers.get('location');
      if (location === null) return { address: url, answer };
      url = new URL(location, url);
    }
    throw new Error(`too many redirects, lately to ${url.href}`);
  }

  async ask(url: URL, method: string, form?: Record<string, string>, headers: Record<string, string> = {}): Promise<Response> {
    const cookie = [...(this.cookies.get(url.host) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, {
      method,
      redirect: 'manual',
      headers: { ...(cookie === '' ? {} : { cookie }), ...headers },
      ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
    });
    const own = this.cookies.get(url.host) ?? new Map<string, string>();
    this.cookies.set(url.host, own);
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!;
      if (value === '' || /max-age=0/i.test(line)) own.delete(name!);
      else own.set(name!, value!);
    }
    return answer;
  }

  /** The cookies of a host, as a header. */
  cookieFor(host: string): string {
    return [...(this.cookies.get(host) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  /** Enters a code of the device flow, as the person would. */
  async enterCode(address: string, code: string): Promise<string> {
    const url = new URL(address);
    const page = await (await this.ask(url, 'GET')).text();
    const xsrf = /name="xsrf" value="(\w+)"/.exec(page)![1]!;
    const answer = await this.ask(url, 'POST', { xsrf, user_code: code, confirm: 'yes' });
    const location = answer.headers.get('location');
    if (location === null) return answer.text();
    const { answer: last } = await this.go(new URL(location, url).href);
    return last!.text();
  }
}
