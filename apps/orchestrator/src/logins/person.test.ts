import type { OidcSettings } from './oidc-file.js';
import { actorOf, personOf, type Claims } from './person.js';

const settings = {
  issuer: 'https://sso.example.org/realms/lab',
  nameClaim: null,
  roles: { claim: 'groups', values: { viewer: ['staff'], operator: ['pruning', '/lab/pruning'], admin: ['admins'] }, otherwise: null },
  refuse: { subjects: ['s-gone'], values: ['guests'] },
} as unknown as OidcSettings;
const ann: Claims = { sub: 's-ann', preferred_username: 'ann', groups: ['staff', 'pruning'] };
const refusalOf = (claims: Claims, part: object = {}): string => {
  try {
    return personOf({ ...settings, ...part }, claims).role;
  } catch (error) {
    return `${(error as { code: string }).code}: ${(error as Error).message}`;
  }
};

it('has the highest role that any value gives', () => {
  expect(personOf(settings, ann)).toEqual({ actor: actorOf(settings.issuer, 's-ann'), subject: 's-ann', name: 'ann', role: 'operator' });
  expect(refusalOf({ ...ann, groups: 'admins' })).toBe('admin');
  expect(refusalOf({ ...ann, groups: ['/lab/pruning', 7, null, { admins: true }] })).toBe('operator');
});

it('is refused without a role, unless the file has one for all others', () => {
  const none = { ...ann, groups: ['Pruning', 'pruning '] };
  expect(refusalOf(none)).toBe('LOGIN_REFUSED: ann is not let in: no value of the claim groups gives a role');
  expect(refusalOf({ sub: 's-ann' })).toMatch(/^LOGIN_REFUSED: s-ann is not let in: the provider tells no values of the claim groups/);
  expect(refusalOf({ ...ann, groups: { admins: ['admins'] } })).toMatch(/^LOGIN_REFUSED/);
  expect(refusalOf(none, { roles: { ...settings.roles, otherwise: 'viewer' } })).toBe('viewer');
});

it('is refused by subject and by value, whatever role there would be', () => {
  expect(refusalOf({ ...ann, sub: 's-gone', groups: ['admins'] })).toMatch(/^LOGIN_REFUSED: .*refuse\.subjects/);
  expect(refusalOf({ ...ann, groups: ['admins', 'guests'] })).toMatch(/^LOGIN_REFUSED: .*refuse\.values/);
});

it.each([undefined, '', 7, 'x'.repeat(256), 'a\nb', 'ä'])('has a subject that can be recorded: not %j', (sub) => {
  expect(refusalOf({ ...ann, sub })).toMatch(/^LOGIN_REFUSED: the provider names no subject/);
});

it('finds a claim by its whole name, else by a path; what objects inherit is not a claim', () => {
  const roles = (claim: string): object => ({ roles: { ...settings.roles, claim } });
  expect(refusalOf({ ...ann, groups: [], realm_access: { roles: ['admins'] } }, roles('realm_access.roles'))).toBe('admin');
  expect(refusalOf({ ...ann, groups: [], 'https://example.org/groups': ['staff'] }, roles('https://example.org/groups'))).toBe('viewer');
  expect(refusalOf(ann, roles('constructor.name'))).toMatch(/^LOGIN_REFUSED/);
});

it('is another one at another issuer, and has the name of the claim that the file names', () => {
  expect(actorOf('https://other.example.org', 's-ann')).not.toBe(actorOf(settings.issuer, 's-ann'));
  expect(personOf({ ...settings, nameClaim: 'email' }, { ...ann, email: 'ann@example.org' }).name).toBe('ann@example.org');
  expect(personOf({ ...settings, nameClaim: 'email' }, ann).name).toBe('s-ann');
  expect(personOf(settings, { ...ann, preferred_username: ' '.repeat(3), name: 'n'.repeat(500) }).name).toHaveLength(100);
});
