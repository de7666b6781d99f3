import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newAuthority } from '#local-access';
import { readOidcFile } from './oidc-file.js';

const folder = mkdtempSync(join(tmpdir(), 'oidc-file-'));
const path = join(folder, 'oidc.yaml');
const LEAST = ['issuer: https://sso.example.org/realms/lab', 'client_id: espalier', 'roles: {operator: [pruning]}'];
beforeAll(async () => {
  writeFileSync(join(folder, 'secret'), 'the secret\n', { mode: 0o600 });
  writeFileSync(join(folder, 'empty'), '', { mode: 0o600 });
  writeFileSync(join(folder, 'open'), 'the secret\n');
  chmodSync(join(folder, 'open'), 0o644);
  writeFileSync(join(folder, 'ca.pem'), (await newAuthority('lab', 1)).certificate);
});
afterAll(() => rmSync(folder, { recursive: true }));

function read(...lines: string[]) {
  writeFileSync(path, lines.join('\n'));
  return readOidcFile(path)!;
}
function refusal(...lines: string[]): string {
  try {
    read(...lines);
    return 'taken';
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`;
  }
}

it('needs little, and the rest is as usual', () => {
  expect(readOidcFile(undefined)).toBeNull();
  expect(read(...LEAST)).toEqual({
    ...{
      issuer: 'https://sso.example.org/realms/lab',
      label: 'sso.example.org',
      clientId: 'espalier',
      clientSecret: null,
      clientAuth: 'basic',
    },
    ...{ ca: null, scopes: ['profile'], audiences: ['espalier'], nameClaim: null, trustMinutes: 10, loginDays: 7, callsPerSecond: null },
    roles: { claim: 'groups', values: { viewer: [], operator: ['pruning'], admin: [] }, otherwise: null },
    refuse: { subjects: [], values: [] },
  });
});

it('takes all that can be said', () => {
  const given = read(
    ...[
      'issuer: http://127.0.0.1:8080',
      'label: Lab account',
      'client_id: e',
      'client_secret_file: secret',
      'client_auth: post',
      'ca_file: ca.pem',
    ],
    ...[
      'scopes: [profile, groups]',
      'audiences: [api, e]',
      'name_claim: email',
      'trust_minutes: 5',
      'login_days: 30',
      'calls_per_second: 20',
    ],
    ...['roles: {claim: realm_access.roles, viewer: staff, admin: [a, b], otherwise: viewer}', 'refuse: {subjects: [x], values: [guests]}'],
  );
  expect(given).toMatchObject({
    ...{ clientSecret: 'the secret', clientAuth: 'post', audiences: ['api', 'e'], nameClaim: 'email', trustMinutes: 5, loginDays: 30 },
    roles: { claim: 'realm_access.roles', values: { viewer: ['staff'], operator: [], admin: ['a', 'b'] }, otherwise: 'viewer' },
    refuse: { subjects: ['x'], values: ['guests'] },
  });
  expect(given.ca).toMatch(/BEGIN CERTIFICATE/);
});

const [ISSUER, CLIENT, ROLES] = LEAST as [string, string, string];
it.each([
  [[CLIENT, ROLES], /oidc\.yaml:1: issuer: .*needed/],
  [[ISSUER, ROLES], /client_id: .*needed/],
  [[ISSUER, CLIENT], /roles: .*needed/],
  [['issuer: http://sso.example.org', CLIENT, ROLES], /oidc\.yaml:1: issuer: https:\/\/ is allowed/],
  [['issuer: https://a:b@sso.example.org', CLIENT, ROLES], /issuer: a user, a password/],
  [['issuer: sso', CLIENT, ROLES], /issuer: this is not an address/],
  [[...LEAST, 'client_secret: abc'], /oidc\.yaml:4: there is no "client_secret"; allowed are .*client_secret_file/],
  [[...LEAST, 'client_secret_file: missing'], /oidc\.yaml:4: client_secret_file: there is no file/],
  [[...LEAST, 'client_secret_file: open'], /chmod 600/],
  [[...LEAST, 'client_secret_file: empty'], /holds no secret/],
  [[...LEAST, 'ca_file: secret'], /ca_file: .*holds no certificate/],
  [[...LEAST, 'client_auth: jwt'], /client_auth: "jwt": allowed are basic, post/],
  [[...LEAST, 'trust_minutes: 0'], /trust_minutes: a whole number from 1 to 1440 is needed/],
  [[...LEAST, 'scopes: ["a b"]'], /scopes: "a b" is not a scope/],
  [[ISSUER, CLIENT, 'roles: {viewer: []}'], /viewer: 1 to 256 values/],
  [[ISSUER, CLIENT, 'roles: {claim: groups}'], /no person has a role/],
  [[ISSUER, CLIENT, 'roles: {owner: [x]}'], /there is no "owner"/],
  [[ISSUER, CLIENT, 'roles: {otherwise: owner}'], /otherwise: "owner": allowed are viewer, operator, admin, refused/],
])('says what is wrong, and where: %j', (lines, words) => {
  const said = refusal(...lines);
  expect(said).toMatch(words);
  expect(said).toMatch(/^CONFIG_INVALID/);
  expect(said).not.toContain('the secret');
});
