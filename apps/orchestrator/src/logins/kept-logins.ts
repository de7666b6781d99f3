// The logins that this server keeps: they begin, are renewed at the provider, and end.
import type { Logger } from 'pino';
import { EspalierError } from '#protocol';
import type { TokenKeeper } from '../access/token-keeper.js';
import { hasDigest, newToken } from '../access/token-text.js';
import { ended, holdOf, noCalls, type Hold, type OpenCalls, type PersonCalling } from './person-calls.js';
import type { Issuer, Proof } from './issuer.js';
import type { LoginStore, StoredLogin } from './login-store.js';
import { LOGIN_ROLES, type OidcSettings } from './oidc-file.js';
import { personOf, type Person } from './person.js';

const DAY_MS = 86_400_000;
/** A login with open calls is renewed this time before its trust ends. */
const RENEW_AHEAD_MS = 30_000;
/** When the trust in a login ends during its renewal, its open calls wait this long for the renewal. */
const RENEWAL_MS_MAX = 2_000;
/** The time until the next try after the provider could not be asked. */
const RENEW_RETRY_MS = 5_000;
/** The most logins of one person, and of all together. Beyond these, the oldest login ends. */
const LOGINS_PER_PERSON_MAX = 32;
const LOGINS_MAX = 2_000;

interface Kept {
  stored: StoredLogin;
  calls: OpenCalls;
  renewing: Promise<void> | null;
  retryAtMs: number;
}

export class KeptLogins {
  private readonly kept = new Map<string, Kept>();

  constructor(
    private readonly settings: OidcSettings,
    private readonly issuer: Issuer,
    private readonly store: LoginStore,
    private readonly tokens: Pick<TokenKeeper, 'loginsEndedUntil'>,
    private readonly log: Pick<Logger, 'info' | 'warn'>,
  ) {
    for (const stored of store.read()) this.keep(stored);
  }

  /** @throws EspalierError LOGIN_REFUSED */
  begin(proof: Proof, by: 'browser' | 'device'): { calling: PersonCalling; secret: string } {
    const person = this.personOf(proof);
    const { tokenId: loginId, secret, digest } = newToken('espalierlogin');
    const now = Date.now();
    const { loginDays } = this.settings;
    const lasting = now + loginDays * DAY_MS;
    const endsAtMs = proof.refreshToken === undefined ? Math.min(lasting, proof.endsAtMs) : lasting;
    const { actor, subject, name, role } = person;
    const stored: StoredLogin = {
      ...{ loginId, digest, by, actor, subject, name, role, beganAtMs: now, endsAtMs },
      trustedUntilMs: this.trustedUntil(proof, now),
      ...(proof.refreshToken === undefined ? {} : { refreshToken: proof.refreshToken }),
    };
    this.requireNotEnded(actor, now);
    this.makeRoom(actor);
    this.keep(stored);
    this.write();
    this.log.info({ actor, name, role, by, loginId, renewable: proof.refreshToken !== undefined }, 'a person has logged in');
    return { calling: callingOf(stored), secret };
  }

  /** @throws the errors of `byId` */
  async bySecret(loginId: string, secret: string): Promise<PersonCalling> {
    const kept = this.kept.get(loginId);
    if (kept === undefined || !hasDigest(secret, kept.stored.digest)) throw unknown();
    return this.byId(loginId);
  }

  /** @throws EspalierError LOGIN_ENDED, LOGIN_REFUSED, LOGIN_UNAVAILABLE, TOKENS_UNKNOWN */
  async byId(loginId: string): Promise<PersonCalling> {
    const kept = this.kept.get(loginId);
    if (kept === undefined) throw unknown();
    this.requireLives(kept.stored);
    if (Date.now() >= kept.stored.trustedUntilMs) await this.renew(kept);
    if (!this.kept.has(loginId)) throw kept.calls.ending.signal.reason as Error;
    return callingOf(kept.stored);
  }

  hold(loginId: string): Hold {
    const kept = this.kept.get(loginId);
    if (kept === undefined) throw unknown();
    return holdOf(kept.calls);
  }

  /** All logins, the latest first. */
  all(): PersonCalling[] {
    return [...this.kept.values()].map(({ stored }) => callingOf(stored)).reverse();
  }

  /** Ends a login because the person logs out. */
  endOwn(loginId: string): void {
    const kept = this.kept.get(loginId);
    if (kept === undefined) return;
    const { actor, name } = kept.stored;
    this.log.info({ actor, name, loginId }, 'a person has logged out');
    this.end(kept, ended('the person has logged out'));
    this.write();
  }

  /** @param whom an actor, the id of a login, or a name that one person has. @throws EspalierError LOGIN_NOT_FOUND, LOGIN_AMBIGUOUS */
  actorNamed(whom: string): string {
    const all = [...this.kept.values()].map(({ stored }) => stored);
    const exact = all.find(({ loginId, actor }) => loginId === whom || actor === whom)?.actor;
    if (exact !== undefined || /^login:[0-9a-f]{8}:./.test(whom)) return exact ?? whom;
    const [actor, ...others] = new Set(all.filter(({ name }) => name === whom).map((one) => one.actor));
    if (actor === undefined)
      throw new EspalierError(
        'LOGIN_NOT_FOUND',
        'there is no login of this id or name here; a person without one is named as events do: login:ISSUER:SUBJECT',
      );
    if (others.length === 0) return actor;
    throw new EspalierError('LOGIN_AMBIGUOUS', `${others.length + 1} people have this name: name one of ${[actor, ...others].join(', ')}`);
  }

  /** Renews and ends logins that are due. Called once a second, because the clock may be set. */
  look(now: number): void {
    for (const kept of this.kept.values()) {
      const { trustedUntilMs, name, refreshToken } = kept.stored;
      if (kept.calls.count === 0 || refreshToken === undefined) continue;
      const isWaitedFor = kept.retryAtMs <= now && (kept.renewing === null || now < trustedUntilMs + RENEWAL_MS_MAX);
      if (now >= trustedUntilMs && !isWaitedFor)
        this.interrupt(kept, new EspalierError('LOGIN_UNAVAILABLE', `the OpenID provider can't be asked whether ${name} may still call`));
      else if (now >= trustedUntilMs - RENEW_AHEAD_MS && now >= kept.retryAtMs) void this.renewQuietly(kept);
    }
  }

  /**
   * Ends logins that an admin has ended. Where the record of tokens can't be read, only open calls end, because the record may become
   * readable again.
   */
  endInvalid(): void {
    let haveEnded = false;
    for (const kept of this.kept.values()) {
      try {
        this.requireLives(kept.stored);
      } catch (error) {
        if ((error as EspalierError).code === 'LOGIN_ENDED') {
          this.end(kept, error as Error);
          haveEnded = true;
        } else if (kept.calls.count > 0) this.interrupt(kept, error as Error);
      }
    }
    if (haveEnded) this.write();
  }

  /** Returns the person. A refused person is reported in the log. */
  private personOf({ claims }: Pick<Proof, 'claims'>): Person {
    try {
      return personOf(this.settings, claims);
    } catch (error) {
      const { message, metadata } = error as EspalierError;
      this.log.warn({ ...metadata }, message);
      throw error;
    }
  }

  /**
   * The time until which the login is trusted without asking again. Without a refresh token the provider can't be asked, so the ID token's
   * end decides.
   */
  private trustedUntil({ endsAtMs, refreshToken }: Proof, nowMs: number): number {
    return refreshToken === undefined ? endsAtMs : Math.min(endsAtMs, nowMs + this.settings.trustMinutes * 60_000);
  }

  /** Renews a login, with one exchange for all calls that wait. */
  private renew(kept: Kept): Promise<void> {
    kept.renewing ??= this.askAgain(kept).finally(() => (kept.renewing = null));
    return kept.renewing;
  }

  /** Renews a login ahead of time. If that fails, the end of the trust will end the calls. */
  private renewQuietly(kept: Kept): Promise<void> {
    return this.renew(kept).catch(() => undefined);
  }

  private async askAgain(kept: Kept): Promise<void> {
    const { refreshToken, subject, loginId } = kept.stored;
    try {
      if (refreshToken === undefined) throw ended('its ID token has ended, and the provider gave no refresh token');
      const proof = await this.issuer.renewed(refreshToken, subject);
      if (!this.kept.has(loginId)) return; // the login has ended in the meantime
      const { name, role } = this.personOf(proof);
      const trustedUntilMs = this.trustedUntil(proof, Date.now());
      if (role !== kept.stored.role) this.log.info({ actor: kept.stored.actor, name, role }, 'the provider gives a person another role');
      // Open calls were let in with the role before. A lower role ends them, and clients call again.
      const isLess = LOGIN_ROLES.indexOf(role) < LOGIN_ROLES.indexOf(kept.stored.role);
      kept.stored = { ...kept.stored, name, role, trustedUntilMs, refreshToken: proof.refreshToken ?? refreshToken };
      if (isLess) this.interrupt(kept, new EspalierError('LOGIN_CHANGED', `the provider gives ${name} a lower role now: ${role}`));
      this.write();
    } catch (error) {
      const { code, message } = error as EspalierError;
      if (code === 'LOGIN_UNAVAILABLE' || code === 'TOO_MANY_CALLS') {
        kept.retryAtMs = Date.now() + RENEW_RETRY_MS;
        throw error;
      }
      this.log.info({ actor: kept.stored.actor, name: kept.stored.name, loginId, code }, `a login has ended: ${message}`);
      this.end(kept, error as Error);
      this.write();
      throw error;
    }
  }

  private keep(stored: StoredLogin): void {
    this.kept.set(stored.loginId, { stored, calls: noCalls(), renewing: null, retryAtMs: 0 });
  }

  private end(kept: Kept, reason: Error): void {
    const { loginId, refreshToken } = kept.stored;
    if (!this.kept.delete(loginId)) return;
    kept.calls.ending.abort(reason);
    if (refreshToken !== undefined) void this.issuer.forget(refreshToken);
  }

  /** Ends the open calls of a login that goes on. */
  private interrupt(kept: Kept, reason: Error): void {
    const { ending } = kept.calls;
    kept.calls = noCalls();
    ending.abort(reason);
  }

  private makeRoom(actor: string): void {
    const own = [...this.kept.values()].filter(({ stored }) => stored.actor === actor);
    if (own.length >= LOGINS_PER_PERSON_MAX) this.end(own[0]!, ended('the same person has logged in too many times since'));
    if (this.kept.size >= LOGINS_MAX) this.end(this.kept.values().next().value!, ended('too many people have logged in since'));
  }

  private write(): void {
    this.store.write([...this.kept.values()].map(({ stored }) => stored));
  }

  /** @throws EspalierError LOGIN_ENDED, TOKENS_UNKNOWN */
  private requireLives({ actor, beganAtMs, endsAtMs }: StoredLogin): void {
    this.requireNotEnded(actor, beganAtMs);
    if (Date.now() >= endsAtMs) throw ended(`it was valid until ${new Date(endsAtMs).toISOString()}`);
  }

  private requireNotEnded(actor: string, beganAtMs: number): void {
    if (beganAtMs <= this.tokens.loginsEndedUntil(actor)) throw ended('an admin has ended the logins of this person');
  }
}

function callingOf({ loginId, by, actor, subject, name, role, beganAtMs, trustedUntilMs, endsAtMs }: StoredLogin): PersonCalling {
  return { person: { actor, subject, name, role }, by, loginId, beganAtMs, trustedUntilMs, endsAtMs };
}

function unknown(): EspalierError {
  return ended('it has ended, or is of another server');
}
