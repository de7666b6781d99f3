// The OpenID provider: how it is found and asked. Only this file loads openid-client and jose, and only where a server has logins.
import { setTimeout as sleep } from 'node:timers/promises';
import type * as JoseModule from 'jose';
import type * as ClientModule from 'openid-client';
import type { Logger } from 'pino';
import { EspalierError } from '#protocol';
import { isOfNetwork, reasonOf } from './issuer-errors.js';
import { IssuerFetch } from './issuer-fetch.js';
import type { OidcSettings } from './oidc-file.js';
import type { Claims } from './person.js';
import { ASKING_SECONDS, CLOCK_TOLERANCE_SECONDS, TokenCheck } from './token-check.js';

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** The least time between two requests for the provider's keys because a token's key is not among them. */
const KEYS_COOLDOWN_MS = 30_000;
/** The most exchanges at once that callers without a token can cause. */
const EXCHANGES_MAX = 8;

/** The provider's answer about a person, checked. */
export interface Proof {
  claims: Claims;
  /** Undefined where the provider gives none; the login then ends with its ID token. */
  refreshToken: string | undefined;
  /** The end of the ID token, or of the access token where there is no ID token. */
  endsAtMs: number;
}

export interface DeviceCode {
  deviceCode: string;
  userCode: string;
  address: string;
  addressWithCode: string | undefined;
  seconds: number;
  interval: number | undefined;
}

export interface CodeChecks {
  verifier: string;
  state: string;
  nonce: string;
}

interface Found {
  client: typeof ClientModule;
  jose: typeof JoseModule;
  configuration: ClientModule.Configuration;
  check: TokenCheck;
}

export class Issuer {
  private readonly http: IssuerFetch;
  private found: Found | null = null;
  private why = 'it was not asked yet';
  private readonly stopping = new AbortController();
  private openExchanges = 0;

  constructor(
    private readonly settings: OidcSettings,
    private readonly log: Pick<Logger, 'info' | 'warn'>,
    private readonly keysCooldownMs = KEYS_COOLDOWN_MS,
  ) {
    this.http = new IssuerFetch(settings.ca);
  }

  /** Looks for the provider until it answers. The server's start does not wait for that. */
  async find(): Promise<void> {
    let lastReason = '';
    for (
      let waitMs = FIRST_RETRY_MS;
      this.found === null && !this.stopping.signal.aborted;
      waitMs = Math.min(2 * waitMs, LONGEST_RETRY_MS)
    ) {
      try {
        this.found = await this.look();
        this.log.info({ issuer: this.settings.issuer }, 'the OpenID provider answers: people can log in');
        return;
      } catch (error) {
        this.why = reasonOf(error);
        if (lastReason !== this.why)
          this.log.warn({ issuer: this.settings.issuer, problem: this.why }, 'the OpenID provider can not be used; trying again');
        lastReason = this.why;
      }
      await sleep(waitMs, undefined, { ref: false, signal: this.stopping.signal }).catch(() => undefined);
    }
  }

  stop(): void {
    this.stopping.abort();
  }

  /** The reason why people can't log in, or null where they can. */
  get problem(): string | null {
    return this.found === null ? this.unavailable(this.why).message : null;
  }

  get takesDevices(): boolean {
    return this.found?.configuration.serverMetadata().device_authorization_endpoint !== undefined;
  }

  /** Returns the address to which a browser is sent, and the values to check when it comes back. @throws EspalierError LOGIN_UNAVAILABLE */
  async authorization(redirectUri: string): Promise<{ url: URL; checks: CodeChecks }> {
    const { client, configuration } = this.require();
    const checks = { verifier: client.randomPKCECodeVerifier(), state: client.randomState(), nonce: client.randomNonce() };
    const url = client.buildAuthorizationUrl(configuration, {
      redirect_uri: redirectUri,
      scope: this.scope,
      state: checks.state,
      nonce: checks.nonce,
      code_challenge: await client.calculatePKCECodeChallenge(checks.verifier),
      code_challenge_method: 'S256',
    });
    return { url, checks };
  }

  /** @param back the address by which the browser came back. @throws EspalierError LOGIN_FAILED, LOGIN_UNAVAILABLE, TOO_MANY_CALLS */
  byCode(back: URL, { verifier, state, nonce }: CodeChecks): Promise<Proof> {
    const { client, configuration } = this.require();
    return this.exchangeForStranger(async () => {
      const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
      return this.proofOf(await client.authorizationCodeGrant(configuration, back, checks), null);
    });
  }

  /** @throws EspalierError LOGIN_NOT_OFFERED, and the errors of `byCode` */
  beginDevice(): Promise<DeviceCode> {
    const { client, configuration } = this.require();
    if (!this.takesDevices)
      throw new EspalierError(
        'LOGIN_NOT_OFFERED',
        `the provider ${this.settings.label} has no logins by a code: log in on the page of the server`,
      );
    return this.exchangeForStranger(async () => {
      const answer = await client.initiateDeviceAuthorization(configuration, { scope: this.scope });
      return {
        deviceCode: answer.device_code,
        userCode: answer.user_code,
        address: answer.verification_uri,
        addressWithCode: answer.verification_uri_complete,
        seconds: answer.expires_in,
        interval: answer.interval,
      };
    });
  }

  /** Waits until the person has entered the code. @throws the errors of `byCode` */
  async byDevice(device: DeviceCode, signal: AbortSignal): Promise<Proof> {
    const { client, configuration } = this.require();
    const { deviceCode, userCode, address, seconds, interval } = device;
    const asked = {
      ...{ device_code: deviceCode, user_code: userCode, verification_uri: address, expires_in: seconds },
      ...(interval === undefined ? {} : { interval }),
    };
    return this.exchange(async () => {
      const tokens = await client.pollDeviceAuthorizationGrant(configuration, asked, undefined, { signal });
      return this.proofOf(tokens, null);
    });
  }

  /**
   * Asks the provider again. @throws EspalierError LOGIN_ENDED when it no longer takes the refresh token; LOGIN_FAILED, LOGIN_UNAVAILABLE
   */
  renewed(refreshToken: string, subject: string): Promise<Proof> {
    const { client, configuration } = this.require();
    return this.exchange(async () => {
      const proof = await this.proofOf(await client.refreshTokenGrant(configuration, refreshToken), subject);
      return { ...proof, refreshToken: proof.refreshToken ?? refreshToken };
    }, true);
  }

  /** Revokes the refresh token at the provider, where the provider can do that. */
  async forget(refreshToken: string): Promise<void> {
    const { found } = this;
    if (found?.configuration.serverMetadata().revocation_endpoint === undefined) return;
    await found.client
      .tokenRevocation(found.configuration, refreshToken, { token_type_hint: 'refresh_token' })
      .catch((error: unknown) => this.log.info({ problem: reasonOf(error) }, 'the OpenID provider did not take a refresh token back'));
  }

  /** Returns the claims of a token that a call shows. @throws EspalierError TOKEN_WRONG, TOKEN_EXPIRED, LOGIN_UNAVAILABLE */
  async shown(jwt: string): Promise<Claims> {
    return this.require().check.verified(jwt, this.settings.audiences);
  }

  private async look(): Promise<Found> {
    const [client, jose] = await Promise.all([import('openid-client'), import('jose')]);
    const { issuer, clientId, clientSecret, clientAuth } = this.settings;
    const address = new URL(issuer);
    const auth =
      clientSecret === null
        ? client.None()
        : clientAuth === 'post'
          ? client.ClientSecretPost(clientSecret)
          : client.ClientSecretBasic(clientSecret);
    const configuration = await client.discovery(address, clientId, { [client.clockTolerance]: CLOCK_TOLERANCE_SECONDS }, auth, {
      [client.customFetch]: this.http.fetch,
      timeout: ASKING_SECONDS,
      // oxlint-disable-next-line typescript/no-deprecated -- it is so that it stands out; to this machine only (oidc-file.ts)
      ...(address.protocol === 'http:' ? { execute: [client.allowInsecureRequests] } : {}),
    });
    const metadata = configuration.serverMetadata();
    if (metadata.issuer !== issuer)
      throw new Error(
        `it calls itself ${metadata.issuer}, and the file has ${issuer}: the issuer in the file must be the same, character by character`,
      );
    for (const name of ['jwks_uri', 'authorization_endpoint', 'token_endpoint'] as const)
      if (metadata[name] === undefined) throw new Error(`its description has no ${name}`);
    const options = { issuer, keysAddress: new URL(metadata.jwks_uri!), keysCooldownMs: this.keysCooldownMs };
    return { client, jose, configuration, check: new TokenCheck(jose, this.http, options) };
  }

  private get scope(): string {
    return [...new Set(['openid', ...this.settings.scopes])].join(' ');
  }

  /** @param subject the person that the tokens must be of, or null for any person */
  private async proofOf(tokens: ClientModule.TokenEndpointResponse, subject: string | null): Promise<Proof> {
    const { client, configuration, check } = this.require();
    // A renewal may come without an ID token. The userinfo endpoint then tells who the person is.
    if (tokens.id_token === undefined && subject === null) throw new Error('it gave no ID token');
    const ofToken = tokens.id_token === undefined ? {} : await check.verified(tokens.id_token, [this.settings.clientId]);
    const known = (ofToken['sub'] as string | undefined) ?? subject!;
    if (subject !== null && known !== subject) throw new Error('it answered with the token of another person');
    const hasInfo = configuration.serverMetadata().userinfo_endpoint !== undefined;
    if (!hasInfo && tokens.id_token === undefined) throw new Error('it gave no ID token, and has no userinfo endpoint');
    const info = hasInfo ? await client.fetchUserInfo(configuration, tokens.access_token, known) : {};
    const expiry = ofToken['exp'];
    return {
      claims: { ...ofToken, ...info },
      refreshToken: tokens.refresh_token,
      endsAtMs: typeof expiry === 'number' ? expiry * 1_000 : Date.now() + (tokens.expires_in ?? 0) * 1_000,
    };
  }

  private require(): Found {
    if (this.found === null) throw this.unavailable(this.why);
    return this.found;
  }

  private unavailable(why: string): EspalierError {
    return new EspalierError('LOGIN_UNAVAILABLE', `the OpenID provider ${this.settings.issuer} can't be asked: ${why}`);
  }

  /** Limits the exchanges at once that callers without a token can cause. */
  private async exchangeForStranger<T>(work: () => Promise<T>): Promise<T> {
    if (this.openExchanges >= EXCHANGES_MAX)
      throw new EspalierError('TOO_MANY_CALLS', `${EXCHANGES_MAX} logins are being looked at, and more are not allowed at once: try again`);
    this.openExchanges += 1;
    try {
      return await this.exchange(work);
    } finally {
      this.openExchanges -= 1;
    }
  }

  private async exchange<T>(work: () => Promise<T>, isRenewal = false): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const { client, jose } = this.require();
      if (error instanceof EspalierError && error.code !== 'TOKEN_WRONG' && error.code !== 'TOKEN_EXPIRED') throw error;
      const isAnswer =
        error instanceof client.ResponseBodyError ||
        error instanceof client.AuthorizationResponseError ||
        error instanceof EspalierError ||
        error instanceof jose.errors.JOSEError;
      if (error instanceof client.WWWAuthenticateChallengeError)
        throw new EspalierError(
          'LOGIN_UNAVAILABLE',
          'the OpenID provider refuses this server: client_id, client_secret_file or client_auth may be wrong, or a token that the ' +
            'provider gave is not good for its own userinfo endpoint',
          { cause: error },
        );
      if (isRenewal && error instanceof client.ResponseBodyError) {
        if (error.error === 'invalid_grant')
          throw new EspalierError('LOGIN_ENDED', 'the provider has ended this login: log in again', { cause: error });
        throw this.unavailable(reasonOf(error)); // another answer says nothing about the person
      }
      // While a provider restarts, its proxy answers with a status.
      const status = error instanceof client.ResponseBodyError ? error.status : 0;
      if (isAnswer ? status >= 500 : isOfNetwork(error)) throw this.unavailable(reasonOf(error));
      throw new EspalierError('LOGIN_FAILED', `the login failed: ${reasonOf(error)}${this.http.clockWords}`, { cause: error });
    }
  }
}
