// Tokens of the provider itself, which programs show in place of a token of this server. Each is good until it ends.
import { createHash } from 'node:crypto';
import type { TokenKeeper } from '../access/token-keeper.js';
import { EspalierError } from '#protocol';
import { ended, holdOf, noCalls, type Hold, type OpenCalls, type PersonCalling } from './person-calls.js';
import type { Issuer } from './issuer.js';
import type { OidcSettings } from './oidc-file.js';
import { personOf } from './person.js';

/** A token with which calls are open. */
interface TokenInUse {
  calling: PersonCalling;
  calls: OpenCalls;
}

export class ShownTokens {
  private readonly held = new Map<string, TokenInUse>();

  constructor(
    private readonly settings: OidcSettings,
    private readonly issuer: Issuer,
    private readonly tokens: Pick<TokenKeeper, 'loginsEndedUntil'>,
  ) {}

  /** @throws EspalierError TOKEN_WRONG, TOKEN_EXPIRED, LOGIN_REFUSED, LOGIN_ENDED, LOGIN_UNAVAILABLE, TOKENS_UNKNOWN */
  async person(text: string): Promise<PersonCalling> {
    const claims = await this.issuer.shown(text);
    const person = personOf(this.settings, claims);
    // A renewed token keeps the time at which the person logged in at the provider.
    const began = typeof claims['auth_time'] === 'number' ? claims['auth_time'] : (claims['iat'] as number);
    const endsAtMs = (claims['exp'] as number) * 1_000;
    const calling = { person, by: 'token', loginId: null, beganAtMs: began * 1_000, trustedUntilMs: endsAtMs, endsAtMs } as const;
    this.requireNotEnded(calling);
    return calling;
  }

  hold(calling: PersonCalling): Hold {
    const { person, beganAtMs, endsAtMs } = calling;
    const key = createHash('sha256').update(`${person.actor}\n${person.role}\n${beganAtMs}\n${endsAtMs}`).digest('hex');
    let held = this.held.get(key);
    if (held === undefined || held.calls.ending.signal.aborted) this.held.set(key, (held = { calling, calls: noCalls() }));
    return holdOf(held.calls);
  }

  /** Ends the calls of tokens that have expired. Called once a second, because the clock may be set. */
  look(nowMs: number): void {
    for (const [key, { calling, calls }] of this.held) {
      const until = new Date(calling.endsAtMs).toISOString();
      if (nowMs >= calling.endsAtMs) calls.ending.abort(new EspalierError('TOKEN_EXPIRED', `this token was valid until ${until}`));
      if (calls.ending.signal.aborted || calls.count === 0) this.held.delete(key);
    }
  }

  endInvalid(): void {
    for (const { calling, calls } of this.held.values()) {
      try {
        this.requireNotEnded(calling);
      } catch (error) {
        calls.ending.abort(error);
      }
    }
  }

  private requireNotEnded({ person, beganAtMs }: PersonCalling): void {
    if (beganAtMs <= this.tokens.loginsEndedUntil(person.actor)) throw ended('an admin has ended the logins of this person');
  }
}
