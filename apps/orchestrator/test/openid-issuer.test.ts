// Tests that a server believes its OpenID provider and no other: against a real one, and against forged answers.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SignJWT, UnsecuredJWT, type JWTPayload } from 'jose';
import { newAuthority, signedBy } from '#local-access';
import { Issuer } from '../src/logins/issuer.js';
import { readOidcFile, type OidcSettings } from '../src/logins/oidc-file.js';
import { Browser, CLIENT, freePort, OpenIdProvider, OTHER_CLIENT } from './harness/openid-provider.js';

const log = { info: () => undefined, warn: (fields: object) => warnings.push(JSON.stringify(fields)) };
const warnings: string[] = [];
const REDIRECT = 'http://127.0.0.1:1/login/callback';
const folder = mkdtempSync(join(tmpdir(), 'openid-issuer-'));
const stops: (() => void)[] = [];
let provider: OpenIdProvider;

beforeAll(async () => {
  provider = new OpenIdProvider(await freePort());
  provider.accounts.set('subject-1', { name: 'ann', groups: ['pruning'] });
  provider.person = 'subject-1';
  await provider.start({ redirectUris: [REDIRECT] });
});
afterAll(async () => {
  for (const stop of stops) stop();
  await provider.stop();
  rmSync(folder, { recursive: true });
});

function settings(part: Partial<OidcSettings> = {}): OidcSettings {
  writeFileSync(join(folder, 'secret'), `${CLIENT.secret}\n`, { mode: 0o600 });
  const lines = [`issuer: ${provider.issuer}`, `client_id: ${CLIENT.id}`, 'client_secret_file: secret'];
  writeFileSync(join(folder, 'oidc.yaml'), [...lines, 'scopes: [profile, groups]', 'roles: {operator: [pruning]}'].join('\n'));
  return { ...readOidcFile(join(folder, 'oidc.yaml'))!, ...part };
}

async function found(part: Partial<OidcSettings> = {}, cooldownMs?: number): Promise<Issuer> {
  const issuer = new Issuer(settings(part), log, cooldownMs);
  stops.push(() => issuer.stop());
  await issuer.find();
  return issuer;
}

const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'OK',
    (error: unknown) => `${(error as { code?: string }).code}: ${(error as Error).message}`,
  );

async function saying(issuer: Issuer, words: RegExp): Promise<void> {
  const end = Date.now() + 60_000;
  while (!words.test(issuer.problem ?? '')) {
    if (Date.now() > end) throw new Error(`it says only: ${issuer.problem}`);
    await sleep(20);
  }
}

async function cameBack(issuer: Issuer) {
  const { url, checks } = await issuer.authorization(REDIRECT);
  const { address } = await new Browser().go(url.href, (at) => at.href.startsWith(REDIRECT));
  return { address, checks };
}

describe('a token that a program shows', () => {
  let issuer: Issuer;
  beforeAll(async () => {
    issuer = await found();
  });
  const now = () => Math.floor(Date.now() / 1_000);

  it('is taken when the provider has signed it for this server', async () => {
    expect(await issuer.shown(await provider.signed({ sub: 'subject-1', groups: ['pruning'] }))).toMatchObject({ groups: ['pruning'] });
    expect(await issuer.shown(await provider.signed({ sub: 'subject-1' }, { typ: 'at+jwt' }))).toMatchObject({ sub: 'subject-1' });
    expect(await issuer.shown(await provider.signed({ sub: 'subject-1', aud: [OTHER_CLIENT.id, CLIENT.id] }))).toBeDefined();
  });

  it.each([
    ['of another audience', { aud: OTHER_CLIENT.id }, /^TOKEN_WRONG: .*another audience: this server takes those for espalier/],
    ['of another issuer', { iss: 'https://evil.example.org' }, /^TOKEN_WRONG: .*another issuer/],
    ['that has expired', { iat: now() - 700, exp: now() - 600 }, /^TOKEN_EXPIRED: .*valid until 20/],
    ['of the future', { iat: now() + 600, exp: now() + 900 }, /^TOKEN_WRONG: .*issued \d+ s from now: the clock/],
    ['that is not valid yet', { nbf: now() + 600 }, /^TOKEN_WRONG: .*not valid yet/],
    ['without a subject', { sub: undefined }, /^TOKEN_WRONG: .*"sub" is missing/],
    [
      'that announces a logout',
      { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } },
      /^TOKEN_WRONG: .*neither an ID token/,
    ],
  ])('%s is refused', async (_what, claims, refusal) => {
    expect(await codeOf(issuer.shown(await provider.signed({ sub: 'subject-1', ...(claims as JWTPayload) })))).toMatch(refusal);
  });

  it('is refused without a signature, with a forged one, and by a key that strangers know', async () => {
    const claims = { iss: provider.issuer, aud: CLIENT.id, sub: 'subject-1', iat: now(), exp: now() + 300 };
    expect(await codeOf(issuer.shown(new UnsecuredJWT(claims).encode()))).toMatch(/^TOKEN_WRONG/);
    const forged = await provider.signed({ sub: 'subject-1' }, {}, await provider.forgedKey());
    expect(await codeOf(issuer.shown(forged))).toMatch(/^TOKEN_WRONG: .*signature is wrong/);
    // If a public key were taken for a shared secret, any program could sign with it.
    const publicText = new TextEncoder().encode(JSON.stringify(provider.publicKey()));
    for (const secret of [publicText, new TextEncoder().encode(CLIENT.secret)])
      expect(await codeOf(issuer.shown(await new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(secret)))).toMatch(
        /^TOKEN_WRONG: .*signature is of a kind/,
      );
    expect(await codeOf(issuer.shown((await provider.signed({ sub: 'subject-1' })).replace(/\.[^.]+$/, '.AAAA')))).toMatch(/^TOKEN_WRONG/);
    expect(await codeOf(issuer.shown('a.b.c'))).toMatch(/^TOKEN_WRONG: .*malformed/);
  });

  it('causes no request where it is of another issuer, and few where its key is not known', async () => {
    await issuer.shown(await provider.signed({ sub: 'subject-1' }));
    const before = provider.askedFor('/jwks');
    const forged = { ...(await provider.forgedKey()), kid: 'a key of the stranger' };
    const flood = await Promise.all(Array.from({ length: 20 }, () => provider.signed({ sub: 'subject-1' }, {}, forged)));
    for (const token of flood) expect(await codeOf(issuer.shown(token))).toMatch(/^TOKEN_WRONG: .*key that the provider does not have/);
    expect(provider.askedFor('/jwks') - before).toBeLessThanOrEqual(1);
  });

  it('is taken when the provider has changed its keys', async () => {
    const patient = await found({}, 0);
    const before = await provider.signed({ sub: 'subject-1' });
    expect(await codeOf(patient.shown(before))).toBe('OK');
    await provider.stop();
    await provider.rotateKeys();
    await provider.start({ redirectUris: [REDIRECT] });
    expect(await codeOf(patient.shown(await provider.signed({ sub: 'subject-1' })))).toBe('OK');
    expect(await codeOf(patient.shown(before))).toMatch(/^TOKEN_WRONG: .*key that the provider does not have/);
  });
});

describe('a person who comes back from the provider', () => {
  it('is known by the claims of the ID token and of the userinfo endpoint, and again by the refresh token', async () => {
    const issuer = await found();
    const { address, checks } = await cameBack(issuer);
    const proof = await issuer.byCode(address, checks);
    expect(proof.claims).toMatchObject({ sub: 'subject-1', preferred_username: 'ann', groups: ['pruning'] });
    provider.accounts.set('subject-1', { name: 'ann', groups: ['none'] });
    const renewed = await issuer.renewed(proof.refreshToken!, 'subject-1');
    expect(renewed.claims).toMatchObject({ groups: ['none'] });
    expect(await codeOf(issuer.renewed(proof.refreshToken!, 'subject-1'))).toMatch(/^LOGIN_ENDED/); // the token was used twice
    provider.accounts.set('subject-1', { name: 'ann', groups: ['pruning'] });
  });

  it('is refused with a code that was used, a foreign state, another verifier, or another nonce', async () => {
    const issuer = await found();
    const first = await cameBack(issuer);
    expect(first.address.href).toContain('code=');
    await issuer.byCode(first.address, first.checks);
    expect(await codeOf(issuer.byCode(first.address, first.checks))).toMatch(/^LOGIN_FAILED: .*invalid_grant/);
    const wrong = { state: 'another', verifier: 'x'.repeat(43), nonce: 'another' };
    for (const [name, value] of Object.entries(wrong)) {
      const { address, checks } = await cameBack(issuer);
      expect([name, await codeOf(issuer.byCode(address, { ...checks, [name]: value }))]).toEqual([
        name,
        expect.stringMatching(/^LOGIN_FAILED/),
      ]);
    }
    const denied = new URL(`${REDIRECT}?error=access_denied&state=${first.checks.state}&iss=${provider.issuer}`);
    expect(await codeOf(issuer.byCode(denied, first.checks))).toMatch(/^LOGIN_FAILED: .*access_denied/);
  });

  it('is told of clocks that differ', async () => {
    const issuer = await found();
    provider.aheadMs = 600_000;
    const { address, checks } = await cameBack(issuer);
    expect(await codeOf(issuer.byCode(address, { ...checks, nonce: 'another' }))).toMatch(
      /provider's clock is \d+ s ahead of this server's/,
    );
    provider.aheadMs = 0;
  });

  it('sends no secret into an error', async () => {
    const issuer = await found({ clientSecret: 'another-secret-of-the-client' });
    const { address, checks } = await cameBack(issuer);
    const said = await codeOf(issuer.byCode(address, checks));
    expect(said).toMatch(/^LOGIN_UNAVAILABLE: .*client_secret_file/);
    for (const secret of ['another-secret', address.searchParams.get('code')!, checks.verifier]) expect(said).not.toContain(secret);
  });
});

describe('a provider', () => {
  it('that does not answer is looked for until it does, and says meanwhile why', async () => {
    const port = await freePort();
    const later = new OpenIdProvider(port);
    const issuer = new Issuer(settings({ issuer: `http://127.0.0.1:${port}` }), log);
    stops.push(() => issuer.stop());
    const looking = issuer.find();
    expect(await codeOf(issuer.authorization(REDIRECT))).toMatch(/^LOGIN_UNAVAILABLE/);
    await later.start({ redirectUris: [REDIRECT] });
    await looking;
    expect(issuer.problem).toBeNull();
    await later.stop();
    const renewing = issuer.renewed('a-token', 'subject-1');
    expect(await codeOf(renewing)).toMatch(/^LOGIN_UNAVAILABLE: .*ECONNREFUSED/);
    expect(warnings.join()).toContain('ECONNREFUSED');
  });

  it('is known by its own authority, where the file names that, and by no other', async () => {
    const authority = await newAuthority('of the provider', 1);
    const { certificate, key } = await signedBy(authority, { subject: 'the provider', names: ['127.0.0.1'], days: 1, use: 'server' });
    const secure = new OpenIdProvider(await freePort());
    await secure.start({ redirectUris: [REDIRECT], tls: { cert: certificate, key } });
    try {
      expect((await found({ issuer: secure.issuer, ca: authority.certificate })).problem).toBeNull();
      const stranger = new Issuer(settings({ issuer: secure.issuer }), log);
      stops.push(() => stranger.stop());
      void stranger.find();
      await saying(stranger, /certificate/);
    } finally {
      await secure.stop();
    }
  });

  it('that calls itself otherwise than the file does is refused', async () => {
    const issuer = new Issuer(settings({ issuer: provider.issuer.replace('127.0.0.1', 'localhost') }), log);
    stops.push(() => issuer.stop());
    void issuer.find();
    await saying(issuer, /issuer/);
  });
});
