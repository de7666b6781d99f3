import { createHash, randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';
import type { Store } from './store.js';
import { newJsonEvent } from './event-log.js';
import { parseObject } from './stream-metadata.js';

export interface Principal {
  name: string;
  groups: string[];
}

export interface UserSetup {
  login: string;
  password: string;
  groups: string[];
  /** A password given by the operator replaces a stored one; a default is only for a user that is not there yet. */
  isDefault: boolean;
}

interface StoredUser {
  salt: string;
  hash: Buffer;
  groups: string[];
  /** An earlier release made it: its hash takes milliseconds to compute. */
  isSlow: boolean;
}

const HASH_BYTES = 32;
const ALGORITHM = 'sha256';

/**
 * Users live in the store itself, one stream each, so a backup holds them too. Callers are told by a digest of their password, which costs
 * next to nothing: passwords that the product makes have 256 bits, so that no guessing comes near one, and a hash that is slow by design
 * would only let callers without a password keep the server busy.
 */
export class Users {
  private readonly known = new Map<string, StoredUser>();
  /** Compared with where a login is unknown, so that the time of an answer says nothing of it. */
  private readonly unknown = randomBytes(HASH_BYTES);

  constructor(private readonly store: Store) {}

  /** Before the server listens. */
  async setUp(users: UserSetup[]): Promise<void> {
    for (const user of users) {
      if (!this.mustRecord(user)) continue;
      await this.store.transact((log) => {
        const created = this.stored(user.login) === undefined;
        const stream = `$user-${user.login}`;
        log.append(stream, [newJsonEvent(created ? '$UserCreated' : '$PasswordChanged', record(user))], 'any');
        if (!created) return;
        log.append('$users', [newJsonEvent('$User', JSON.stringify(user.login))], 'any');
        log.append(`$$${stream}`, [newJsonEvent('$metadata', '{"$acl":{"$r":"$admins","$w":"$admins"}}')], 'any');
      });
    }
    for (const { login } of users) {
      const stored = this.stored(login);
      if (stored?.isSlow === false) this.known.set(login, stored);
      else process.stderr.write(`user ${login} has a password of an earlier release, and can't log in until the server is given it\n`);
    }
  }

  /** @returns undefined when the name or the password is wrong */
  verify(login: string, password: string): Principal | undefined {
    const user = this.known.get(login);
    const isRight = timingSafeEqual(digest(password, user?.salt ?? ''), user?.hash ?? this.unknown);
    return isRight && user !== undefined ? { name: login, groups: user.groups } : undefined;
  }

  private mustRecord({ login, password, isDefault }: UserSetup): boolean {
    const stored = this.stored(login);
    if (stored === undefined) return true;
    const isStored = timingSafeEqual((stored.isSlow ? slowHash : digest)(password, stored.salt), stored.hash);
    return isStored ? stored.isSlow : !isDefault;
  }

  private stored(login: string): StoredUser | undefined {
    const { salt, hash, groups, algorithm } = parseObject(this.store.reader.newest(`$user-${login}`)?.data);
    if (typeof salt !== 'string' || typeof hash !== 'string' || !Array.isArray(groups)) return undefined;
    const bytes = Buffer.from(hash, 'base64');
    if (bytes.length !== HASH_BYTES) return undefined;
    return { salt, hash: bytes, groups: groups.map(String), isSlow: algorithm !== ALGORITHM };
  }
}

function record({ login, password, groups }: UserSetup): string {
  const salt = randomBytes(16).toString('base64');
  const hash = digest(password, salt).toString('base64');
  return JSON.stringify({ loginName: login, fullName: login, algorithm: ALGORITHM, salt, hash, disabled: false, groups });
}

function digest(password: string, salt: string): Buffer {
  return createHash(ALGORITHM).update(`${salt}\n${password}`).digest();
}

function slowHash(password: string, salt: string): Buffer {
  return scryptSync(password, salt, HASH_BYTES);
}
