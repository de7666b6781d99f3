// Reads the file of an OpenID provider that a user writes. It is YAML, and errors name the line and the key.
import { X509Certificate } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { isSeq, type Pair } from 'yaml';
import { readSecretFileSync, readUserFileSync } from '#files';
import { isLoopbackHost } from '#local-access';
import { wholeNumberOf } from '#protocol';
import { textOfOptionFile, YamlReader } from '#run-files';

/** The roles of people, in ascending order. */
export const LOGIN_ROLES = ['viewer', 'operator', 'admin'] as const;
export type LoginRole = (typeof LOGIN_ROLES)[number];

export interface OidcSettings {
  /** The provider's address, exactly as the provider itself writes it. */
  issuer: string;
  /** The name that people see: "Log in with LABEL". */
  label: string;
  clientId: string;
  /** Null for a public client. */
  clientSecret: string | null;
  clientAuth: 'basic' | 'post';
  /** The authority of the provider's certificate in PEM, or null for Node's own authorities. */
  ca: string | null;
  scopes: readonly string[];
  /** The audiences, of which a token that a program shows must have one. A login's ID token is for the client itself. */
  audiences: readonly string[];
  /** The claim with the person's name, or null to try the usual claims in turn. */
  nameClaim: string | null;
  roles: {
    claim: string;
    values: Readonly<Record<LoginRole, readonly string[]>>;
    /** The role of a person to whom no value gives a role, or null to refuse this person. */
    otherwise: LoginRole | null;
  };
  refuse: { subjects: readonly string[]; values: readonly string[] };
  /** The time for which a person is trusted before the provider is asked again. */
  trustMinutes: number;
  /** The time that a login lasts. */
  loginDays: number;
  /** The limit for each person, or null for no limit. */
  callsPerSecond: number | null;
}

const FIELD = '--oidc';
const FILE_BYTES_MAX = 256 << 10;
const LIST_MAX = 256;
const WORD_CHARACTERS_MAX = 512;
const USUAL = { scopes: ['profile'], roleClaim: 'groups', trustMinutes: 10, loginDays: 7 };
const SCOPE = /^[!#-[\]-~]+$/;
const KEYS = [
  ...['issuer', 'label', 'client_id', 'client_secret_file', 'client_auth', 'ca_file', 'scopes', 'audiences', 'name_claim', 'roles'],
  ...['refuse', 'trust_minutes', 'login_days', 'calls_per_second'],
];
const ROLE_KEYS = ['claim', ...LOGIN_ROLES, 'otherwise'];

/** @throws EspalierError CONFIG_INVALID */
export function readOidcFile(path: string | undefined): OidcSettings | null {
  if (path === undefined) return null;
  return new OidcReader(path, textOfOptionFile(path, 'the file of the OpenID provider', FIELD), FIELD).read(dirname(path));
}

type Pairs = ReadonlyMap<string, Pair>;

class OidcReader extends YamlReader {
  /** @param folder the folder that relative paths start from */
  read(folder: string): OidcSettings {
    const pairs = this.pairsOf(this.document.contents, 'the file', KEYS);
    const issuer = this.issuerOf(this.needed(pairs, 'issuer', 'the address of the provider'));
    const clientId = this.wordOf(this.needed(pairs, 'client_id', 'the name of this server at the provider'), 'client_id');
    const secret = pairs.get('client_secret_file');
    const ca = pairs.get('ca_file');
    return {
      issuer,
      label: this.optional(pairs, 'label', (pair) => this.wordOf(pair, 'label')) ?? new URL(issuer).hostname,
      clientId,
      clientSecret: secret === undefined ? null : this.secretOf(secret, folder),
      clientAuth: this.optional(pairs, 'client_auth', (pair) => this.oneOf(pair, 'client_auth', ['basic', 'post'] as const)) ?? 'basic',
      ca: ca === undefined ? null : this.authorityOf(ca, folder),
      scopes: this.optional(pairs, 'scopes', (pair) => this.scopesOf(pair)) ?? USUAL.scopes,
      audiences: this.optional(pairs, 'audiences', (pair) => this.wordsOf(pair, 'audiences')) ?? [clientId],
      nameClaim: this.optional(pairs, 'name_claim', (pair) => this.wordOf(pair, 'name_claim')) ?? null,
      roles: this.rolesOf(this.needed(pairs, 'roles', 'who is viewer, operator and admin')),
      refuse: this.optional(pairs, 'refuse', (pair) => this.refuseOf(pair)) ?? { subjects: [], values: [] },
      trustMinutes: this.numberIn(pairs, 'trust_minutes', 1, 1_440) ?? USUAL.trustMinutes,
      loginDays: this.numberIn(pairs, 'login_days', 1, 365) ?? USUAL.loginDays,
      callsPerSecond: this.numberIn(pairs, 'calls_per_second', 1, 10_000) ?? null,
    };
  }

  private needed(pairs: Pairs, key: string, what: string): Pair {
    const pair = pairs.get(key);
    if (pair === undefined) throw this.problem(0, `${key}: ${what} is needed`);
    return pair;
  }

  private optional<T>(pairs: Pairs, key: string, read: (pair: Pair) => T): T | undefined {
    const pair = pairs.get(key);
    return pair === undefined ? undefined : read(pair);
  }

  /** Reads the issuer. It is compared with the provider's own words, so it stays exactly as it is written. */
  private issuerOf(pair: Pair): string {
    const text = this.textOf(pair, 'issuer', 'an address');
    const url = URL.canParse(text) ? new URL(text) : null;
    if (url === null) throw this.wrong(pair, 'issuer', 'this is not an address: https://HOST/PATH is allowed');
    const isSafe = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopbackHost(url.hostname.replace(/^\[|\]$/g, '')));
    if (!isSafe) throw this.wrong(pair, 'issuer', 'https:// is allowed, and http:// to this machine only: 127.0.0.1, [::1] or localhost');
    if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
      throw this.wrong(pair, 'issuer', 'a user, a password, a "?" or a "#" in it is not allowed');
    return text;
  }

  private secretOf(pair: Pair, folder: string): string {
    const path = resolve(folder, this.textOf(pair, 'client_secret_file', 'a path'));
    let secret: string;
    try {
      secret = readSecretFileSync(path, FILE_BYTES_MAX).toString('utf8').trim();
    } catch (error) {
      throw this.wrong(pair, 'client_secret_file', (error as Error).message);
    }
    if (secret === '' || /[\0\n\r]/.test(secret))
      throw this.wrong(pair, 'client_secret_file', `${path} holds no secret: one line is needed`);
    return secret;
  }

  private authorityOf(pair: Pair, folder: string): string {
    const path = resolve(folder, this.textOf(pair, 'ca_file', 'a path'));
    try {
      const pem = readUserFileSync(path, FILE_BYTES_MAX).toString('utf8');
      new X509Certificate(pem);
      return pem;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw this.wrong(
        pair,
        'ca_file',
        code === 'FILE_UNUSABLE' ? message : `${path} holds no certificate of an authority in PEM: ${message}`,
      );
    }
  }

  private rolesOf(list: Pair): OidcSettings['roles'] {
    const pairs = this.pairsOf(list.value, 'roles', ROLE_KEYS);
    const valuesFor = (role: LoginRole): string[] => this.optional(pairs, role, (pair) => this.wordsOf(pair, role)) ?? [];
    const values = { viewer: valuesFor('viewer'), operator: valuesFor('operator'), admin: valuesFor('admin') };
    const otherwise =
      this.optional(pairs, 'otherwise', (pair) => this.oneOf(pair, 'otherwise', [...LOGIN_ROLES, 'refused'] as const)) ?? 'refused';
    if (otherwise === 'refused' && LOGIN_ROLES.every((role) => values[role].length === 0))
      throw this.wrong(list, 'roles', 'no person has a role: values for viewer, operator or admin are needed, or "otherwise"');
    return {
      claim: this.optional(pairs, 'claim', (pair) => this.wordOf(pair, 'claim')) ?? USUAL.roleClaim,
      values,
      otherwise: otherwise === 'refused' ? null : otherwise,
    };
  }

  private refuseOf(list: Pair): OidcSettings['refuse'] {
    const pairs = this.pairsOf(list.value, 'refuse', ['subjects', 'values']);
    const words = (key: string): string[] => this.optional(pairs, key, (pair) => this.wordsOf(pair, key)) ?? [];
    return { subjects: words('subjects'), values: words('values') };
  }

  private scopesOf(pair: Pair): string[] {
    const scopes = this.wordsOf(pair, 'scopes');
    const wrong = scopes.find((scope) => !SCOPE.test(scope));
    if (wrong !== undefined) throw this.wrong(pair, 'scopes', `${JSON.stringify(wrong)} is not a scope: each is one word`);
    return scopes;
  }

  /** Reads one word or a list of words. */
  private wordsOf(pair: Pair, key: string): string[] {
    const words = isSeq(pair.value) ? this.itemsOf(pair, key) : [this.textOf(pair, key, 'a value, or a list of values,')];
    if (words.length === 0 || words.length > LIST_MAX || words.some((word) => word === '' || word.length > WORD_CHARACTERS_MAX))
      throw this.wrong(pair, key, `1 to ${LIST_MAX} values are allowed, each of 1 to ${WORD_CHARACTERS_MAX} characters`);
    return words;
  }

  private wordOf(pair: Pair, key: string): string {
    const text = this.textOf(pair, key, 'a value');
    if (text.length > WORD_CHARACTERS_MAX || /[\0\n\r]/.test(text))
      throw this.wrong(pair, key, `one line of 1 to ${WORD_CHARACTERS_MAX} characters is allowed`);
    return text;
  }

  private oneOf<T extends string>(pair: Pair, key: string, allowed: readonly T[]): T {
    const text = this.textOf(pair, key, 'a word');
    const found = allowed.find((one) => one === text);
    if (found !== undefined) return found;
    throw this.wrong(pair, key, `${JSON.stringify(text)}: allowed are ${allowed.join(', ')}`);
  }

  private numberIn(pairs: Pairs, key: string, least: number, most: number): number | undefined {
    const pair = pairs.get(key);
    if (pair === undefined) return undefined;
    try {
      const value = wholeNumberOf(this.textOf(pair, key, 'a number'));
      if (value >= least && value <= most) return value;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    throw this.wrong(pair, key, `a whole number from ${least} to ${most} is needed`);
  }
}
