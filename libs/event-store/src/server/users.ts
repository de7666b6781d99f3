import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** admin may use every stream, ops all streams but the system's. */
export type User = 'admin' | 'ops';

/**
 * Keeps the passwords of the two users as digests in memory. A fast digest is enough: the passwords that Espalier makes have 256 bits, so
 * they can't be guessed, and with a slow hash, callers without a password could keep the server busy.
 */
export class Users {
  private readonly digests: ReadonlyMap<string, Buffer>;
  /** Compared with the password of an unknown login, so that the time of the answer does not tell whether the login exists. */
  private readonly unknown = randomBytes(32);

  /** @param passwords a user without a password does not exist */
  constructor(passwords: { admin: string; ops?: string | undefined }) {
    const given = Object.entries(passwords).filter((entry): entry is [User, string] => entry[1] !== undefined);
    this.digests = new Map(given.map(([login, password]) => [login, digest(password)]));
  }

  /** @returns the user; undefined when the name or the password is wrong */
  verify(login: string, password: string): User | undefined {
    const known = this.digests.get(login);
    const isRight = timingSafeEqual(digest(password), known ?? this.unknown);
    return isRight && known !== undefined ? (login as User) : undefined;
  }
}

function digest(password: string): Buffer {
  return createHash('sha256').update(password).digest();
}
