// The logins of people by the server's OpenID provider, if it has one: how a login begins on the page and by a code, and who calls.
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import { isTime } from '#files';
import { EspalierError } from '#protocol';
import { TokenKeeper } from '../access/token-keeper.js';
import { tokenIdIn } from '../access/token-text.js';
import type { OrchestratorConfig } from '../config.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import { COOKIE_KEY, LOGGER, OIDC, ORCHESTRATOR_CONFIG } from '../provider-names.js';
import { ended, type Hold, type PersonCalling } from './person-calls.js';
import { Issuer, type CodeChecks, type DeviceCode } from './issuer.js';
import { KeptLogins } from './kept-logins.js';
import { LoginStore } from './login-store.js';
import type { OidcSettings } from './oidc-file.js';
import { seal, unseal } from './sealed-text.js';
import { ShownTokens } from './shown-tokens.js';

const LOOK_MS = 1_000;
const PAGE_MS = 600_000;
const DEVICE_MS_MAX = 1_800_000;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]*$/;
const [OF_PAGE, OF_DEVICE] = ['page', 'device'];

interface PageLogin {
  checks: CodeChecks;
  redirectUri: string;
  to: string;
}

/** The parts that a server with a provider has. */
interface ProviderParts {
  issuer: Issuer;
  kept: KeptLogins;
  shown: ShownTokens;
}

@Injectable()
export class Logins {
  private readonly issuer: Issuer | null;
  private parts: ProviderParts | null = null;
  private looking: NodeJS.Timeout | undefined;

  constructor(
    @Inject(OIDC) readonly settings: OidcSettings | null,
    @Inject(COOKIE_KEY) private readonly key: () => string,
    @Inject(TokenKeeper) private readonly tokens: TokenKeeper,
    @Inject(ORCHESTRATOR_CONFIG) private readonly config: Pick<OrchestratorConfig, 'dataFolder'>,
    @Inject(LOGGER) private readonly log: Logger,
  ) {
    this.issuer = settings === null ? null : new Issuer(settings, log);
  }

  /** Starts, without waiting for the provider. */
  start(): void {
    const { settings, issuer, tokens, log } = this;
    if (settings === null || issuer === null) return;
    const store = new LoginStore(this.config.dataFolder, settings, log);
    const kept = new KeptLogins(settings, issuer, store, tokens, log);
    const shown = new ShownTokens(settings, issuer, tokens);
    this.parts = { issuer, kept, shown };
    tokens.onLoginsChange = () => this.endInvalid();
    this.looking = setInterval(() => this.look(Date.now()), LOOK_MS).unref();
    void issuer.find();
  }

  stop(): void {
    clearInterval(this.looking);
    this.issuer?.stop();
  }

  /** The reason why no person can log in, or null where people can. */
  get problem(): string | null {
    return this.issuer?.problem ?? null;
  }

  get takesDevices(): boolean {
    return this.issuer?.takesDevices ?? false;
  }

  /**
   * Begins a login on the page. Returns the address to which the browser is sent, and the sealed text that it has to bring back.
   * @param to the page's path to show after the login. @throws EspalierError LOGIN_NOT_OFFERED, LOGIN_UNAVAILABLE
   */
  async beginOnPage(redirectUri: string, to: string): Promise<{ url: URL; sealed: string; seconds: number }> {
    const { url, checks } = await this.require().issuer.authorization(redirectUri);
    const login: PageLogin = { checks, redirectUri, to };
    return { url, sealed: seal(login, this.key(), OF_PAGE, Date.now() + PAGE_MS), seconds: PAGE_MS / 1_000 };
  }

  /**
   * @param query the query of the address by which the browser came back
   * @throws EspalierError LOGIN_FAILED, LOGIN_REFUSED, LOGIN_UNAVAILABLE
   */
  async finishOnPage(query: string, sealed: string | undefined): Promise<{ calling: PersonCalling; to: string }> {
    const { issuer, kept } = this.require();
    const login = (sealed === undefined ? undefined : unseal(sealed, this.key(), OF_PAGE, Date.now())) as PageLogin | undefined;
    if (login === undefined)
      throw new EspalierError('LOGIN_FAILED', 'this browser has begun no login here, or began it too long ago: begin again');
    if (new URLSearchParams(query).get('state') !== login.checks.state)
      throw new EspalierError(
        'LOGIN_FAILED',
        'this answer belongs to another login than the one that this browser has begun last: begin again',
      );
    const proof = await issuer.byCode(new URL(`${login.redirectUri}?${query}`), login.checks);
    const { calling } = kept.begin(proof, 'browser');
    return { calling, to: login.to };
  }

  /** @throws EspalierError LOGIN_NOT_OFFERED, LOGIN_UNAVAILABLE, LOGIN_FAILED, TOO_MANY_CALLS */
  async beginDevice(): Promise<{ device: DeviceCode; handle: string; expiresAt: Date }> {
    const device = await this.require().issuer.beginDevice();
    const untilMs = Date.now() + Math.min(isTime(device.seconds * 1_000) ? device.seconds * 1_000 : Infinity, DEVICE_MS_MAX);
    return { device, handle: seal(device, this.key(), OF_DEVICE, untilMs), expiresAt: new Date(untilMs) };
  }

  /** Waits until the person has logged in. @throws EspalierError LOGIN_FAILED, LOGIN_REFUSED, LOGIN_UNAVAILABLE */
  async finishDevice(handle: string, signal: AbortSignal): Promise<{ calling: PersonCalling; secret: string }> {
    const { issuer, kept } = this.require();
    const device = unseal(handle, this.key(), OF_DEVICE, Date.now()) as DeviceCode | undefined;
    if (device === undefined) throw new EspalierError('LOGIN_FAILED', 'this server has begun no such login, or it is too old: begin again');
    const proof = await issuer.byDevice(device, signal).catch((error: unknown) => {
      throw signal.aborted ? signal.reason : error;
    });
    if (signal.aborted) {
      // The client has gone, so the secret would reach no program.
      if (proof.refreshToken !== undefined) await issuer.forget(proof.refreshToken);
      throw signal.reason as Error;
    }
    return kept.begin(proof, 'device');
  }

  /** Tells whether a text that a call shows is a login's secret or a token of the provider. */
  takes(text: string): boolean {
    return this.issuer !== null && (tokenIdIn(text, 'espalierlogin') !== undefined || JWT.test(text));
  }

  /** @throws EspalierError LOGIN_ENDED, LOGIN_REFUSED, LOGIN_UNAVAILABLE, TOKEN_WRONG, TOKEN_EXPIRED, TOKENS_UNKNOWN */
  async shown(text: string): Promise<PersonCalling> {
    const { kept, shown } = this.require();
    const loginId = tokenIdIn(text, 'espalierlogin');
    return loginId === undefined ? shown.person(text) : kept.bySecret(loginId, text);
  }

  /** @throws EspalierError LOGIN_ENDED, LOGIN_REFUSED, LOGIN_UNAVAILABLE, TOKENS_UNKNOWN */
  async byLoginId(loginId: string): Promise<PersonCalling> {
    if (this.parts === null) throw ended('this server has no logins any more');
    return this.parts.kept.byId(loginId);
  }

  /** Notes an open call, which ends when its login or token does. @throws EspalierError LOGIN_ENDED */
  hold(calling: PersonCalling): Hold {
    const { kept, shown } = this.require();
    return calling.loginId === null ? shown.hold(calling) : kept.hold(calling.loginId);
  }

  /** All logins, the latest first. */
  all(): PersonCalling[] {
    return this.parts?.kept.all() ?? [];
  }

  /** Ends the person's own login. A token of the provider ends by itself. */
  endOwn({ loginId }: PersonCalling): void {
    if (loginId !== null) this.parts?.kept.endOwn(loginId);
  }

  /**
   * Ends all logins of a person at an admin's request.
   * @param whom an actor, the id of a login, or a name that one person has. @throws EspalierError LOGIN_NOT_FOUND, LOGIN_AMBIGUOUS
   */
  async endAll(whom: string, by: CallContext): Promise<{ actor: string; ended: number }> {
    const { kept } = this.require();
    const actor = kept.actorNamed(whom);
    const before = kept.all().filter(({ person }) => person.actor === actor).length;
    await this.tokens.endLogins(actor, by);
    this.endInvalid();
    return { actor, ended: before };
  }

  private look(nowMs: number): void {
    this.parts?.kept.look(nowMs);
    this.parts?.shown.look(nowMs);
  }

  private endInvalid(): void {
    this.parts?.kept.endInvalid();
    this.parts?.shown.endInvalid();
  }

  private require(): ProviderParts {
    if (this.parts === null)
      throw new EspalierError(
        'LOGIN_NOT_OFFERED',
        'this server has no logins of people: it was started without --oidc, so callers show tokens',
      );
    return this.parts;
  }
}
