import { scryptSync, createHash, randomBytes, timingSafeEqual } from 'node:crypto';
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

const HASH_BYTES = 32;
const MAX_REMEMBERED = 1000;

/** Users live in the store itself, one stream each, so a backup holds them too. Passwords are kept as scrypt hashes. */
export class Users {
  /** Hashing a password takes milliseconds by design; a login that was right once is known by a digest. */
  private readonly known = new Map<string, Principal>();

  constructor(private readonly store: Store) {}

  async setUp(users: UserSetup[]): Promise<void> {
    for (const user of users) {
      if (this.stored(user.login) ? user.isDefault || this.verify(user.login, user.password) : false) continue;
      await this.store.transact((log) => {
        const created = !this.stored(user.login);
        const stream = `$user-${user.login}`;
        log.append(stream, [newJsonEvent(created ? '$UserCreated' : '$PasswordChanged', record(user))], 'any');
        if (!created) return;
        log.append('$users', [newJsonEvent('$User', JSON.stringify(user.login))], 'any');
        log.append(`$$${stream}`, [newJsonEvent('$metadata', '{"$acl":{"$r":"$admins","$w":"$admins"}}')], 'any');
      });
    }
    this.known.clear();
  }

  /** @returns undefined when the name or the password is wrong */
  verify(login: string, password: string): Principal | undefined {
    const digest = createHash('sha256').update(`${login}\n${password}`).digest('base64');
    const remembered = this.known.get(digest);
    if (remembered) return remembered;
    const stored = this.stored(login);
    if (!stored || !timingSafeEqual(hash(password, stored.salt), Buffer.from(stored.hash, 'base64'))) return undefined;
    if (this.known.size >= MAX_REMEMBERED) this.known.clear();
    const principal = { name: login, groups: stored.groups };
    this.known.set(digest, principal);
    return principal;
  }

  private stored(login: string): { salt: string; hash: string; groups: string[] } | undefined {
    const value = parseObject(this.store.reader.newest(`$user-${login}`)?.data);
    if (typeof value.salt !== 'string' || typeof value.hash !== 'string' || !Array.isArray(value.groups)) return undefined;
    return { salt: value.salt, hash: value.hash, groups: value.groups.map(String) };
  }
}

function record({ login, password, groups }: UserSetup): string {
  const salt = randomBytes(16).toString('base64');
  return JSON.stringify({
    loginName: login,
    fullName: login,
    salt,
    hash: hash(password, salt).toString('base64'),
    disabled: false,
    groups,
  });
}

function hash(password: string, salt: string): Buffer {
  return scryptSync(password, salt, HASH_BYTES);
}
