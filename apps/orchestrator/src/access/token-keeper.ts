// The only writer of tokens, which also knows all tokens as the store has them now. A token that is revoked on any orchestrator of the
// event store becomes invalid on each of them.
import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from 'pino';
import type { EventStore, Subscription } from '#event-store';
import { EspalierError } from '#protocol';
import { AggregateRepository, type Aggregate } from '../event-sourcing/aggregate-repository.js';
import type { CallContext } from '../event-sourcing/call-context.js';
import { decodeStored } from '../event-sourcing/event-codec.js';
import { StoreCondition } from '../storage/store-condition.js';
import { EVENT_STORE, LOGGER } from '../provider-names.js';
import { ACCESS_STREAM_PREFIX, TOKENS_ID, tokenEventTypes, type NewTokenFact, type TokenEvent, type TokenRole } from './token.events.js';
import { hasDigest, newToken, tokenIdIn } from './token-text.js';
import { decide, evolve, isValid, tokenOf, tokensDamaged, type Token, type TokenChange, type TokensState } from './tokens.js';

const RETRY_MS = 2_000;
/** How often expiry is checked. It is not timed once, because the clock may be set. */
const LOOK_MS = 1_000;

const definition: Aggregate<TokensState, TokenChange, NewTokenFact> = {
  name: 'the record of',
  types: tokenEventTypes,
  streamPrefix: ACCESS_STREAM_PREFIX,
  decode: (stored) => decodeStored(tokenEventTypes, stored) as TokenEvent,
  evolve,
  decide,
  notFound: () => new EspalierError('TOKEN_NOT_FOUND', 'there are no tokens'),
  damaged: (_id, problems) => tokensDamaged(problems),
};

@Injectable()
export class TokenKeeper {
  private readonly repository: AggregateRepository<TokensState, TokenChange, NewTokenFact>;
  private readonly byId = new Map<string, Token>();
  /** The controllers that end the open calls of each token, by its id. */
  private readonly endings = new Map<string, AbortController>();
  private loginsEnded: TokensState['loginsEnded'] = {};
  /** Called when an admin has ended logins, or when the record can no longer be read. */
  onLoginsChange: () => void = () => undefined;
  private revision = -1;
  private problem: Error | null = null;
  private subscription: Subscription | null = null;
  private looking: NodeJS.Timeout | undefined;
  private stopped = false;
  private started: Promise<void> | null = null;

  constructor(
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(StoreCondition) private readonly condition: Pick<StoreCondition, 'missing'>,
    @Inject(LOGGER) private readonly log: Pick<Logger, 'error'>,
  ) {
    this.repository = new AggregateRepository(store, definition);
  }

  /** Resolves when every token that is recorded so far is known. */
  start(): Promise<void> {
    if (this.started !== null) return this.started;
    this.looking = setInterval(() => this.endInvalid(), LOOK_MS).unref();
    return (this.started = new Promise((resolve) => void this.follow(resolve)));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.looking);
    await this.subscription?.close();
  }

  /** All tokens, the latest first. */
  all(): Token[] {
    return [...this.byId.values()].reverse();
  }

  /** Returns the token that a caller shows. @throws EspalierError TOKEN_WRONG, TOKEN_REVOKED, TOKEN_EXPIRED, TOKENS_UNKNOWN */
  shown(text: string, nowMs = Date.now()): Token {
    const token = this.byId.get(tokenIdIn(text) ?? '');
    if (token === undefined || !hasDigest(text, token.digest)) throw this.problem === null ? tokenWrong() : this.unknown();
    return this.requireValid(token.tokenId, nowMs);
  }

  /** @throws the errors of `shown` */
  requireValid(tokenId: string, nowMs = Date.now()): Token {
    const token = this.byId.get(tokenId);
    this.requireKnown();
    if (token === undefined) throw tokenWrong();
    if (!isValid(token, nowMs)) throw ended(token);
    return token;
  }

  /** The time in milliseconds up to which the person's logins have ended, or -Infinity. @throws EspalierError TOKENS_UNKNOWN */
  loginsEndedUntil(actor: string): number {
    this.requireKnown();
    const until = Object.hasOwn(this.loginsEnded, actor) ? this.loginsEnded[actor] : undefined;
    return until === undefined ? -Infinity : Date.parse(until);
  }

  async endLogins(actor: string, by: CallContext): Promise<void> {
    await this.change({ kind: 'end logins', actor }, by);
  }

  /** Returns a signal that aborts, with the error, when the token is revoked or expires. */
  endOf(tokenId: string): AbortSignal {
    let ending = this.endings.get(tokenId);
    if (ending === undefined) this.endings.set(tokenId, (ending = new AbortController()));
    return ending.signal;
  }

  /** Creates a token. The secret is returned here and never again. */
  async create(
    wanted: { name: string; role: TokenRole | undefined; days: number },
    by: CallContext,
  ): Promise<{ token: Token; secret: string }> {
    const { tokenId, secret, digest } = newToken();
    const { state } = await this.change({ kind: 'create', tokenId, digest, ...wanted }, by);
    return { token: tokenOf(state, tokenId, Date.now()), secret };
  }

  /** @param text a token's id, or the name of a valid token. @throws EspalierError TOKEN_NOT_FOUND */
  async revoke(text: string, by: CallContext): Promise<Token> {
    const { state, facts } = await this.change({ kind: 'revoke', token: text }, by);
    const [fact] = facts;
    return tokenOf(state, fact?.type === 'TokenRevoked' ? fact.data.tokenId : text, Date.now());
  }

  /** @throws EspalierError TOKENS_UNKNOWN where events are missing, since they may say that the caller's rights have ended */
  private requireKnown(): void {
    if (this.problem !== null || this.condition.missing !== null) throw this.unknown();
  }

  private async change(change: TokenChange, by: CallContext): Promise<{ state: TokensState; facts: NewTokenFact[] }> {
    const changed = await this.repository.change(TOKENS_ID, change, { by });
    this.adopt(changed.state);
    return changed;
  }

  /** Follows the stream of tokens until the keeper stops. Each event makes it read the record again. */
  private async follow(known: () => void): Promise<void> {
    while (!this.stopped) {
      try {
        this.adopt(await this.repository.find(TOKENS_ID));
        this.subscription = this.store.subscribe(ACCESS_STREAM_PREFIX + TOKENS_ID, {
          after: this.revision < 0 ? 'start' : BigInt(this.revision),
        });
        for await (const { kind } of this.subscription) {
          if (kind !== 'checkpoint') this.adopt(await this.repository.find(TOKENS_ID));
          if (kind === 'caughtUp') known();
        }
      } catch (error) {
        if (error instanceof EspalierError && error.code === 'TOKENS_UNKNOWN') {
          this.problem = error; // the event that can't be read may revoke a token
          this.endInvalid();
          known();
        }
        if (!this.stopped) this.log.error({ err: error }, 'the record of tokens could not be read on; trying again');
      }
      await this.subscription?.close().catch(() => undefined);
      if (!this.stopped) await sleep(RETRY_MS, undefined, { ref: false });
    }
  }

  private adopt(state: TokensState | null): void {
    this.problem = null;
    if (state === null || state.revision <= this.revision) return;
    this.revision = state.revision;
    for (const token of state.tokens) this.byId.set(token.tokenId, token);
    this.loginsEnded = state.loginsEnded;
    this.endInvalid();
  }

  private endInvalid(): void {
    for (const [tokenId, ending] of this.endings) {
      try {
        this.requireValid(tokenId);
      } catch (error) {
        this.endings.delete(tokenId);
        ending.abort(error);
      }
    }
    this.onLoginsChange();
  }

  private unknown(): EspalierError {
    const why = this.problem?.message ?? 'the event store lacks events, which may say that tokens were revoked';
    return new EspalierError('TOKENS_UNKNOWN', `no token is accepted at the moment but that of the server's own user: ${why}`);
  }
}

function tokenWrong(): EspalierError {
  return new EspalierError('TOKEN_WRONG', 'this is not a token of this server');
}

function ended({ revokedAt, expiresAt }: Token): EspalierError {
  if (revokedAt !== null) return new EspalierError('TOKEN_REVOKED', `this token was revoked at ${revokedAt}`);
  return new EspalierError('TOKEN_EXPIRED', `this token was valid until ${expiresAt}`);
}
