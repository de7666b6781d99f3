// Checks tokens that the provider has signed.
import type * as JoseModule from 'jose';
import { isTime, timeAt } from '#files';
import { EspalierError } from '#protocol';
import { reasonOf } from './issuer-errors.js';
import type { IssuerFetch } from './issuer-fetch.js';
import type { Claims } from './person.js';

/** The difference that is allowed between the two clocks. */
export const CLOCK_TOLERANCE_SECONDS = 30;
export const ASKING_SECONDS = 10;
/** The least time until the keys are read again after they could not be read. */
const KEYS_RETRY_MS = 2_000;
const TOKEN_CHARACTERS_MAX = 16 << 10;
/** Only algorithms with a private and a public key. With a shared secret, a program that can check a signature could also make one. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];
/**
 * The allowed types of tokens. Other tokens of the provider have the client as their audience, too, such as those that announce a logout.
 */
const TYPES = [undefined, 'jwt', 'at+jwt', 'application/at+jwt'];

export interface TokenCheckOptions {
  issuer: string;
  keysAddress: URL;
  /** The least time between two requests for the keys because a token's key is not among them. */
  keysCooldownMs: number;
}

export class TokenCheck {
  private readonly keys: JoseModule.JWTVerifyGetKey;

  constructor(
    private readonly jose: typeof JoseModule,
    private readonly http: IssuerFetch,
    private readonly options: TokenCheckOptions,
  ) {
    const remote = jose.createRemoteJWKSet(options.keysAddress, {
      [jose.customFetch]: http.fetch,
      cooldownDuration: options.keysCooldownMs,
      timeoutDuration: ASKING_SECONDS * 1_000,
    });
    this.keys = seldomAfterFailure(remote, jose);
  }

  /** Checks a token and returns its claims. @throws EspalierError TOKEN_WRONG, TOKEN_EXPIRED, LOGIN_UNAVAILABLE */
  async verified(jwt: string, audiences: readonly string[]): Promise<Claims> {
    const { jose, keys } = this;
    const { issuer } = this.options;
    if (jwt.length > TOKEN_CHARACTERS_MAX) throw tokenWrong('it is too long');
    try {
      // This check comes before any key is asked for, so that a stranger's token causes no request.
      if (jose.decodeJwt(jwt).iss !== issuer) throw tokenWrong(`it is of another issuer: this server takes those of ${issuer}`);
      const { payload, protectedHeader } = await jose.jwtVerify(jwt, keys, {
        ...{ issuer, audience: [...audiences], algorithms: ALGORITHMS, clockTolerance: CLOCK_TOLERANCE_SECONDS },
        requiredClaims: ['sub', 'exp', 'iat', 'aud'],
      });
      if (!TYPES.includes(protectedHeader.typ?.toLowerCase()) || payload['events'] !== undefined)
        throw tokenWrong('it is neither an ID token nor an access token');
      for (const claim of ['exp', 'iat', 'auth_time']) {
        const seconds = payload[claim];
        if (typeof seconds === 'number' && !isTime(seconds * 1_000))
          throw tokenWrong(`its claim "${claim}" is ${seconds}, which is no time`);
      }
      const aheadSeconds = payload.iat! - Date.now() / 1_000;
      if (aheadSeconds > CLOCK_TOLERANCE_SECONDS)
        throw tokenWrong(`it was issued ${Math.round(aheadSeconds)} s from now: the clock of this server or of the provider is wrong`);
      return payload;
    } catch (error) {
      throw this.refusalOf(error, audiences);
    }
  }

  private refusalOf(error: unknown, audiences: readonly string[]): EspalierError {
    const { errors } = this.jose;
    if (error instanceof EspalierError) return error;
    if (error instanceof errors.JWTExpired) {
      const ended = timeAt(Number(error.payload.exp) * 1_000)?.toISOString() ?? 'a time before 1970';
      return new EspalierError('TOKEN_EXPIRED', `this token was valid until ${ended}${this.http.clockWords}`);
    }
    if (error instanceof errors.JWTClaimValidationFailed) {
      if (error.claim === 'aud') return tokenWrong(`it is for another audience: this server takes those for ${audiences.join(', ')}`);
      if (error.claim === 'nbf') return tokenWrong(`it is not valid yet${this.http.clockWords}`);
      return tokenWrong(`its claim "${error.claim}" is missing or not valid`);
    }
    if (error instanceof errors.JWKSNoMatchingKey) return tokenWrong('it is signed with a key that the provider does not have');
    if (error instanceof errors.JOSEAlgNotAllowed)
      return tokenWrong(`its signature is of a kind that is not taken: ${ALGORITHMS.join(', ')} are`);
    if (error instanceof errors.JWSSignatureVerificationFailed) return tokenWrong('its signature is wrong');
    if (error instanceof errors.JWTInvalid || error instanceof errors.JWSInvalid || error instanceof errors.JOSENotSupported)
      return tokenWrong('it is malformed, or not signed');
    const why = `its keys can't be read: ${reasonOf(error)}`;
    return new EspalierError('LOGIN_UNAVAILABLE', `the OpenID provider ${this.options.issuer} can't be asked: ${why}`);
  }
}

/** Limits requests for the keys: while they can't be read, the tokens of strangers do not cause a request each. */
function seldomAfterFailure(keys: JoseModule.JWTVerifyGetKey, { errors }: typeof JoseModule): JoseModule.JWTVerifyGetKey {
  let failure: unknown;
  let failedAt = -Infinity;
  return async (header, token) => {
    if (Date.now() - failedAt < KEYS_RETRY_MS) throw failure;
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) [failure, failedAt] = [error, Date.now()];
      throw error;
    }
  };
}

function tokenWrong(why: string): EspalierError {
  return new EspalierError('TOKEN_WRONG', `this token of the OpenID provider is not accepted: ${why}`);
}
