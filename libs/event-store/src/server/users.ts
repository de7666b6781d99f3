import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** admin may use every stream, ops those that are not the system's. */
export type User = 'admin' | 'ops';

/**
 * The passwords of the two users, as digests in memory. A digest costs next to nothing: passwords that the product makes have 256 bits, so
 * that no guessing comes near one, and a hash that is slow by design would only let callers without a password keep the server busy.
 */
export class Users {
  private readonly digests: ReadonlyMap<string, Buffer>;
  /** Compared with where a login is unknown, so that the time of an answer says nothing of it. */
  private readonly unknown = randomBytes(32);

  /** A user without a password does not exist. */
  constructor(passwords: { admin: string; ops?: string | undefined }) {
    const given = Object.entries(passwords).filter((entry): entry is [User, string] => entry[1] !== undefined);
    this.digests = new Map(given.map(([login, password]) => [login, digest(password)]));
  }

  /** @returns undefined when the name or the password is wrong */
  verify(login: string, password: string): User | undefined {
    const known = this.digests.get(login);
    const isRight = timingSafeEqual(digest(password), known ?? this.unknown);
    return isRight && known !== undefined ? (login as User) : undefined;
  }
}

function digest(password: string): Buffer {
  return createHash('sha256').update(password).digest();
}
