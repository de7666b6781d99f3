// Turns the provider's claims into a person with a role. All functions are pure.
import { createHash } from 'node:crypto';
import { EspalierError } from '#protocol';
import { LOGIN_ROLES, type LoginRole, type OidcSettings } from './oidc-file.js';

export type Claims = Readonly<Record<string, unknown>>;

export interface Person {
  /** The name by which events know the person. It stays the same when the shown name changes. */
  actor: string;
  subject: string;
  /** The name that is shown. No rule reads it. */
  name: string;
  role: LoginRole;
}

/** The roles from the highest to the lowest. */
const ROLES_DOWN = LOGIN_ROLES.toReversed();
/** A subject as the standard allows it: at most 255 characters of ASCII. */
const SUBJECT = /^[ -~]{1,255}$/;
const NAME_CHARACTERS_MAX = 100;
const USUAL_NAMES = ['preferred_username', 'email', 'name'];

/** @throws EspalierError LOGIN_REFUSED */
export function personOf(settings: OidcSettings, claims: Claims): Person {
  const subject = claims['sub'];
  if (typeof subject !== 'string' || !SUBJECT.test(subject))
    throw new EspalierError('LOGIN_REFUSED', 'the provider names no subject ("sub") that can be recorded');
  const name = nameOf(settings, claims, subject);
  const refused = (why: string): EspalierError =>
    new EspalierError('LOGIN_REFUSED', `${name} is not let in: ${why}`, { metadata: { subject } });
  const { refuse, roles } = settings;
  if (refuse.subjects.includes(subject)) throw refused('the server refuses this person (refuse.subjects)');
  const values = valuesOf(claims, roles.claim);
  const banned = values.find((value) => refuse.values.includes(value));
  if (banned !== undefined) throw refused(`the server refuses those with "${banned}" in the claim ${roles.claim} (refuse.values)`);
  const role = ROLES_DOWN.find((one) => values.some((value) => roles.values[one].includes(value))) ?? roles.otherwise;
  if (role === null)
    throw refused(
      values.length === 0
        ? `the provider tells no values of the claim ${roles.claim}, by which roles are given`
        : `no value of the claim ${roles.claim} gives a role`,
    );
  return { actor: actorOf(settings.issuer, subject), subject, name, role };
}

/** The actor of a person. It contains the issuer, because subjects are unique only within one, and colons, which no user's name has. */
export function actorOf(issuer: string, subject: string): string {
  return `login:${createHash('sha256').update(issuer).digest('hex').slice(0, 8)}:${subject}`;
}

function nameOf({ nameClaim }: OidcSettings, claims: Claims, subject: string): string {
  for (const claim of nameClaim === null ? USUAL_NAMES : [nameClaim]) {
    const value = valueAt(claims, claim);
    if (typeof value === 'string' && value.trim() !== '') return value.trim().slice(0, NAME_CHARACTERS_MAX);
  }
  return subject;
}

/** Returns the texts in a claim, which is a text or a list. Values of other types are ignored. */
function valuesOf(claims: Claims, claim: string): string[] {
  const value = valueAt(claims, claim);
  return (Array.isArray(value) ? (value as unknown[]) : [value]).filter((one) => typeof one === 'string');
}

/** Returns a claim by its name, which may contain dots, or else by a path such as "realm_access.roles". */
function valueAt(claims: Claims, claim: string): unknown {
  if (Object.hasOwn(claims, claim)) return claims[claim];
  let value: unknown = claims;
  for (const part of claim.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Claims)[part];
  }
  return value;
}
