// Tests logins of people by an OpenID provider: with a real provider, a real server, the command line, and a program that behaves as a
// browser.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelCredentials, type ServiceError } from '@grpc/grpc-js';
import { chromium } from 'playwright-core';
import { programFile } from '#files';
import { bearerToken, fromServiceError, v1 } from '#protocol';
import { Browser, CLIENT, freePort, OpenIdProvider, OTHER_CLIENT } from './harness/openid-provider.js';
import { CORPUS, ENDLESS, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

const CLI = programFile(new URL('../../cli/src/main.js', import.meta.url));
const PROGRAM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));
const folder = mkdtempSync(join(tmpdir(), 'espalier-logins-'));
const server = TestServer.inNewFolder();
const clients: { close: () => void }[] = [];
const secrets: string[] = [CLIENT.secret];
let provider: OpenIdProvider;

beforeAll(async () => {
  provider = new OpenIdProvider(await freePort());
  provider.accounts.set('s-ann', { name: 'ann', groups: ['pruning'] });
  provider.accounts.set('s-bob', { name: 'bob', groups: ['pruning'] });
  provider.accounts.set('s-eve', { name: 'eve', groups: ['another-lab'] });
  provider.accounts.set('s-root', { name: 'root', groups: ['admins'] });
  writeFileSync(join(folder, 'secret'), CLIENT.secret, { mode: 0o600 });
  const lines = [
    ...[
      `issuer: ${provider.issuer}`,
      'label: Test lab',
      `client_id: ${CLIENT.id}`,
      'client_secret_file: secret',
      'scopes: [profile, groups]',
    ],
    ...['roles:', '  claim: groups', '  viewer: [readers]', '  operator: [pruning]', '  admin: [admins]'],
    'calls_per_second: 50',
  ];
  writeFileSync(join(folder, 'oidc.yaml'), lines.join('\n'));
  server.web = `127.0.0.1:${await freePort()}`;
  server.options = ['--oidc', join(folder, 'oidc.yaml'), '--data-root', TINY_MODEL, '--data-root', CORPUS];
  await server.start();
});
afterAll(async () => {
  for (const client of clients) client.close();
  await server.dispose();
  await provider.stop();
  rmSync(folder, { recursive: true, force: true });
});

function as<T extends { close: () => void }>(
  make: new (address: string, credentials: ChannelCredentials, options: object) => T,
  secret: string | null,
): T {
  const client = new make(server.listenAddress, ChannelCredentials.createInsecure(), bearerToken(secret));
  clients.push(client);
  return client;
}

const caller = (secret: string | null): Promise<v1.GetCallerResponse> =>
  unary((done) => as(v1.AccessServiceClient, secret).getCaller({}, done));

const refusal = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'OK',
    (error: unknown) => (error as { code: string }).code,
  );

/** Asks until the answer is as wanted, since only the clock decides how long a token lives. */
async function until<T>(ask: () => Promise<T>, wanted: (answer: T) => boolean): Promise<T> {
  const end = Date.now() + 60_000;
  for (;;) {
    const answer = await ask();
    if (wanted(answer)) return answer;
    if (Date.now() > end) throw new Error(`it did not come to that: ${JSON.stringify(answer)}\n${server.logTail()}`);
    await sleep(50);
  }
}

/** Waits until the server has found the provider. */
async function answers(): Promise<void> {
  const access = as(v1.AccessServiceClient, null);
  await until(
    () => unary<v1.GetLoginOptionsResponse>((done) => access.getLoginOptions({}, done)),
    ({ problem, device }) => problem === '' && device,
  );
}

async function loginByDevice(subject: string): Promise<v1.FinishLoginResponse> {
  provider.person = subject;
  const access = as(v1.AccessServiceClient, null);
  const { handle, address, code } = await unary<v1.BeginLoginResponse>((done) => access.beginLogin({}, done));
  const finished = unary<v1.FinishLoginResponse>((done) => access.finishLogin({ handle }, done));
  await new Browser().enterCode(address, code);
  const answer = await finished;
  secrets.push(answer.secret);
  return answer;
}

async function loginOnPage(subject: string, to = '/'): Promise<{ browser: Browser; address: URL }> {
  provider.person = subject;
  const browser = new Browser();
  const { address } = await browser.go(
    `${server.webAddress}/login/start?to=${encodeURIComponent(to)}`,
    (at) => at.pathname === '/login/callback',
  );
  secrets.push(address.searchParams.get('code')!);
  return { browser, address };
}

const page = (): URL => new URL(server.webAddress);

async function onPage(browser: Browser, method = 'AccessService/GetCaller', headers: Record<string, string> = {}) {
  const cookie = browser.cookieFor(page().host);
  const answer = await fetch(`${server.webAddress}/espalier.v1.${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(cookie === '' ? {} : { cookie }), ...headers },
    body: '{}',
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

function cli(args: string[], onError: (text: string) => void = () => undefined) {
  const env = { PATH: process.env['PATH'], HOME: folder, XDG_CONFIG_HOME: join(folder, 'config') };
  const child = spawn(process.execPath, [CLI, '--server', `http://${server.listenAddress}`, ...args], { cwd: folder, env });
  let [out, error] = ['', ''];
  child.stdout.on('data', (text: Buffer) => (out += text.toString()));
  child.stderr.on('data', (text: Buffer) => onError((error += text.toString())));
  return new Promise<{ code: number | null; out: string; error: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, out, error })),
  );
}

it('a server starts without its provider, says why no person can log in, and takes tokens all the while', async () => {
  const access = as(v1.AccessServiceClient, null);
  const options = await until(
    () => unary<v1.GetLoginOptionsResponse>((done) => access.getLoginOptions({}, done)),
    ({ problem }) => problem.includes('ECONNREFUSED'), // the start of the server does not wait for its question to the provider
  );
  expect(options).toMatchObject({ label: 'Test lab', issuer: provider.issuer });
  expect(await refusal(unary((done) => access.beginLogin({}, done)))).toBe('LOGIN_UNAVAILABLE');
  expect((await fetch(`${server.webAddress}/login/start`, { redirect: 'manual' })).status).toBe(503);
  expect(await refusal(caller(await provider.signedBeforeStart()))).toBe('LOGIN_UNAVAILABLE');
  expect((await caller(server.token)).role).toBe(v1.Role.ROLE_ADMIN);
  await provider.start({ redirectUris: [`${server.webAddress}/login/callback`] });
  await answers();
});

describe('the command line', () => {
  function loginByCli() {
    let entered: Promise<string> | null = null;
    return cli(['login'], (text) => {
      const [, address, code] =
        /in a browser, on any machine:\n {2}(\S+)\nand enter this code, and no other:\n {2}(\S+)\n/.exec(text) ?? [];
      if (code !== undefined) entered ??= new Browser().enterCode(address!, code);
    });
  }

  it('logs a person in by a code, keeps the login for that person alone, and calls by it', async () => {
    provider.person = 's-ann';
    const done = await loginByCli();
    expect(done).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^logged in at 127\.0\.0\.1:\d+ as ann, operator, until /) as string,
    });
    const logins = join(folder, 'config/espalier/logins');
    const [name] = readdirSync(logins);
    expect(statSync(join(logins, name!)).mode & 0o777).toBe(0o600);
    const { secret } = JSON.parse(readFileSync(join(logins, name!), 'utf8')) as { secret: string };
    secrets.push(secret);
    expect(done.out + done.error).not.toContain(secret);
    expect((await cli(['whoami'])).out).toMatch(/^ann, operator\nrecorded as login:[0-9a-f]{8}:s-ann\nthe login is valid until /);
    // A token that is named comes before a login.
    const file = join(folder, 'owner');
    writeFileSync(file, server.token!, { mode: 0o600 });
    expect((await cli(['--token-file', file, 'whoami'])).out).toMatch(/, admin\n/);
    expect((await cli(['--token-file', file, 'login'])).error).toMatch(/goes before a login/);
  });

  it('that logs in again ends the earlier login', async () => {
    const logins = join(folder, 'config/espalier/logins');
    const secretKept = (): string => (JSON.parse(readFileSync(join(logins, readdirSync(logins)[0]!), 'utf8')) as { secret: string }).secret;
    const before = secretKept();
    expect((await loginByCli()).code).toBe(0);
    expect([await refusal(caller(before)), await refusal(caller(secretKept()))]).toEqual(['LOGIN_ENDED', 'OK']);
  });

  it('logs out here and at the server', async () => {
    const logins = join(folder, 'config/espalier/logins');
    const { secret } = JSON.parse(readFileSync(join(logins, readdirSync(logins)[0]!), 'utf8')) as { secret: string };
    expect((await cli(['logout'])).out).toMatch(/^logged out at/);
    expect(readdirSync(logins)).toEqual([]);
    expect(await refusal(caller(secret))).toBe('LOGIN_ENDED');
    expect((await cli(['logout'])).out).toMatch(/has not logged in/);
    expect(await cli(['runs'])).toMatchObject({ code: 4, error: expect.stringMatching(/TOKEN_NEEDED[\s\S]*espalier login/) as string });
  });
});

describe('a person', () => {
  const launching = v1.LaunchRunRequest.fromPartial({
    modelPath: TINY_MODEL,
    data: { trainPath: CORPUS, validationPath: CORPUS },
    settings: { ...TINY_RUN, ...ENDLESS },
  });
  const launch = (secret: string): Promise<v1.LaunchRunResponse> =>
    unary((done) => as(v1.RunServiceClient, secret).launchRun(launching, done));
  const cancel = (secret: string, runId: string): Promise<unknown> =>
    unary((done) => as(v1.RunServiceClient, secret).cancelRun({ runId, reason: '' }, done));

  it('is known by the subject: own runs are so over all logins, and after another name; events have both', async () => {
    const first = await loginByDevice('s-ann');
    const { run } = await launch(first.secret);
    await server.pause(run!.runId); // it need not train to be cancelled
    expect(run).toMatchObject({ launchedBy: first.login!.actor, launchedByName: 'ann' });
    const bob = await loginByDevice('s-bob');
    expect(await refusal(cancel(bob.secret, run!.runId))).toBe('ROLE_TOO_LOW');
    provider.accounts.get('s-ann')!.name = 'ann the second';
    provider.accounts.get('s-bob')!.name = 'ann';
    const [second, thief] = [await loginByDevice('s-ann'), await loginByDevice('s-bob')];
    expect(second.login!.person).toBe('ann the second');
    expect(thief.login!.person).toBe('ann');
    expect(await refusal(cancel(thief.secret, run!.runId))).toBe('ROLE_TOO_LOW');
    expect(await refusal(cancel(second.secret, run!.runId))).toBe('OK');
    const events = await server.events(run!.runId);
    expect(events[0]!.context).toMatchObject({ actor: first.login!.actor, actorName: 'ann', roles: ['operator'] });
    const cancelled = events.find(({ type }) => type === 'RunCancelled')!;
    expect(cancelled.context).toMatchObject({ actor: first.login!.actor, actorName: 'ann the second' });
    provider.accounts.get('s-ann')!.name = 'ann';
    provider.accounts.get('s-bob')!.name = 'bob';
  });

  it('loses the rights that the provider takes away when the short token ends, and open calls with them', async () => {
    provider.idTokenSeconds = 2;
    const { secret } = await loginByDevice('s-bob');
    provider.idTokenSeconds = 3_600;
    const { run } = await unary<v1.LaunchRunResponse>((done) => server.runs.launchRun(launching, done));
    await server.pause(run!.runId); // it is watched all the same
    const runs = as(v1.RunServiceClient, secret);
    const watch = (async () => {
      try {
        for await (const _ of runs.watchRun(v1.WatchRunRequest.fromPartial({ runId: run!.runId })));
        return 'OK';
      } catch (error) {
        return fromServiceError(error as ServiceError).code;
      }
    })();
    provider.accounts.get('s-bob')!.groups = ['another-lab'];
    expect(await watch).toBe('LOGIN_REFUSED');
    expect(await refusal(caller(secret))).toBe('LOGIN_ENDED');
    provider.accounts.get('s-bob')!.groups = ['pruning'];
    await unary((done) => server.runs.cancelRun({ runId: run!.runId, reason: '' }, done));
  });

  it('who is gone at the provider is let in no more; with less rights, with those only', async () => {
    provider.idTokenSeconds = 1;
    const [gone, less] = [await loginByDevice('s-bob'), await loginByDevice('s-ann')];
    provider.accounts.delete('s-bob');
    provider.accounts.get('s-ann')!.groups = ['readers'];
    await until(
      () => refusal(caller(gone.secret)),
      (code) => code === 'LOGIN_ENDED',
    );
    await until(
      () => caller(less.secret),
      ({ role }) => role === v1.Role.ROLE_VIEWER,
    );
    expect(await refusal(launch(less.secret))).toBe('ROLE_TOO_LOW');
    provider.idTokenSeconds = 3_600;
    provider.accounts.set('s-bob', { name: 'bob', groups: ['pruning'] });
    provider.accounts.get('s-ann')!.groups = ['pruning'];
  });

  it('whom the server does not know any role for is refused, and the log says who', async () => {
    expect(await refusal(loginByDevice('s-eve'))).toBe('LOGIN_REFUSED');
    expect(server.log).toMatch(/"subject":"s-eve","msg":"eve is not let in: no value of the claim groups gives a role"/);
  });

  it('keeps the login when the server is started again, while the provider is away it is not trusted', async () => {
    provider.idTokenSeconds = 1;
    const short = await loginByDevice('s-ann');
    provider.idTokenSeconds = 3_600;
    const long = await loginByDevice('s-ann');
    await provider.stop();
    await until(
      () => refusal(caller(short.secret)),
      (code) => code === 'LOGIN_UNAVAILABLE',
    );
    await server.kill();
    await server.start();
    expect((await caller(long.secret)).login).toMatchObject({ person: 'ann', by: 'device' });
    expect(await refusal(caller(short.secret))).toBe('LOGIN_UNAVAILABLE');
    await provider.goOn();
    await answers();
    expect(await refusal(caller(short.secret))).toBe('OK');
  });

  it('has logins that an admin lists and ends at once, with their open calls and earlier tokens', async () => {
    const { secret, login } = await loginByDevice('s-ann');
    const { browser, address } = await loginOnPage('s-ann');
    await browser.go(address.href, (at) => at.pathname === '/');
    const token = await provider.signed({ sub: 's-ann', groups: ['pruning'] });
    expect((await caller(token)).login).toMatchObject({ by: 'token', loginId: '' });
    const admin = as(v1.AccessServiceClient, (await loginByDevice('s-root')).secret);
    const { logins } = await unary<v1.ListLoginsResponse>((done) => admin.listLogins({}, done));
    expect(logins.filter(({ person }) => person === 'ann').map(({ by }) => by)).toContain('browser');
    expect(await refusal(unary((done) => as(v1.AccessServiceClient, secret).listLogins({}, done)))).toBe('ROLE_TOO_LOW');
    expect(await refusal(unary((done) => as(v1.AccessServiceClient, secret).endLogins({ person: 'root' }, done)))).toBe('ROLE_TOO_LOW');
    expect(await refusal(unary((done) => admin.endLogins({ person: 'no such person' }, done)))).toBe('LOGIN_NOT_FOUND');
    expect((await onPage(browser)).status).toBe(200);
    expect(await refusal(unary((done) => admin.endLogins({ person: 'ann' }, done)))).toBe('LOGIN_AMBIGUOUS'); // bob has taken the same name
    const { actor } = login!;
    const ended = await unary<v1.EndLoginsResponse>((done) => admin.endLogins({ person: actor }, done));
    expect(ended.actor).toBe(actor);
    expect(ended.ended).toBeGreaterThanOrEqual(2);
    expect(await refusal(caller(secret))).toBe('LOGIN_ENDED');
    expect(await refusal(caller(token))).toBe('LOGIN_ENDED');
    expect((await onPage(browser)).status).toBe(401);
    expect((await caller((await loginByDevice('s-ann')).secret)).login).toMatchObject({ person: 'ann' });
  });
});

it('a person who calls too often is refused, and others are not', async () => {
  const [hasty, other] = [await loginByDevice('s-ann'), await loginByDevice('s-bob')];
  const client = as(v1.AccessServiceClient, hasty.secret);
  const codes: string[] = [];
  // A client has at most 64 calls open.
  while (!codes.includes('CALLS_TOO_FAST'))
    codes.push(...(await Promise.all(Array.from({ length: 50 }, () => refusal(unary((done) => client.getCaller({}, done)))))));
  expect(new Set(codes)).toEqual(new Set(['OK', 'CALLS_TOO_FAST']));
  expect(await refusal(caller(other.secret))).toBe('OK');
  await until(
    () => refusal(caller(hasty.secret)),
    (code) => code === 'OK',
  );
});

describe('a program', () => {
  it('shows a token of the provider, and none of another audience or hand', async () => {
    expect((await caller(await provider.signed({ sub: 's-prog', groups: ['pruning'], preferred_username: 'ci' }))).login).toMatchObject({
      person: 'ci',
    });
    expect(await refusal(caller(await provider.signed({ sub: 's-prog', groups: ['pruning'], aud: OTHER_CLIENT.id })))).toBe('TOKEN_WRONG');
    expect(await refusal(caller(await provider.signed({ sub: 's-prog', groups: ['pruning'] }, {}, await provider.forgedKey())))).toBe(
      'TOKEN_WRONG',
    );
    expect(await refusal(caller(await provider.signed({ sub: 's-prog', groups: ['none'] })))).toBe('LOGIN_REFUSED');
    const token = await provider.signed({ sub: 's-prog', groups: ['pruning'] });
    const login = await fetch(`${server.webAddress}/login`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
    expect([login.status, login.headers.get('set-cookie')]).toEqual([401, null]);
  });

  it.each([
    [{ exp: 8_640_000_000_001 }, 'TOKEN_WRONG'],
    [{ exp: 1e300 }, 'TOKEN_WRONG'],
    [{ exp: -1e300 }, 'TOKEN_EXPIRED'],
    [{ iat: -1e300 }, 'TOKEN_WRONG'],
    [{ auth_time: 8_640_000_000_001 }, 'TOKEN_WRONG'],
  ])('with a token whose times are none (%j) is refused, and the server goes on', async (times, code) => {
    const token = await provider.signed({ sub: 's-prog', groups: ['pruning'], ...times });
    expect(await refusal(caller(token))).toBe(code);
    await sleep(1_200); // the server looks once a second for tokens that have expired
    expect((await caller(server.token)).role).toBe(v1.Role.ROLE_ADMIN);
  });
});

describe('a browser', () => {
  it('is sent to the provider and back, and gets a cookie that no script and no other site sees', async () => {
    const { browser, address } = await loginOnPage('s-ann', '/runs/k3f9');
    const back = await browser.ask(address, 'GET');
    expect([back.status, back.headers.get('location')]).toEqual([303, '/runs/k3f9']);
    expect(back.headers.getSetCookie().at(-1)).toMatch(
      /^espalier-\w{8}=\d+\.login-[0-9a-f]{12}\.[\w-]+; Path=\/; HttpOnly; SameSite=Strict; Max-Age=\d+$/,
    );
    const { body } = await onPage(browser);
    expect(body['login']).toMatchObject({ person: 'ann', by: 'browser' });
    expect((await onPage(browser, 'AccessService/ListLogins')).status).toBe(403);
    // Other pages can't use the cookie, and can't log it out.
    const foreign = { origin: 'https://evil.example.org', 'sec-fetch-site': 'cross-site' };
    expect((await onPage(browser, 'AccessService/EndLogin', foreign)).status).toBe(403);
    const login = new URL('/login', page());
    expect((await browser.ask(login, 'DELETE', undefined, foreign)).status).toBe(403);
    expect((await onPage(browser)).status).toBe(200);
    const shown = browser.cookieFor(page().host);
    expect((await browser.ask(login, 'DELETE')).status).toBe(204);
    const again = await fetch(`${server.webAddress}/espalier.v1.AccessService/GetCaller`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', cookie: shown },
      body: '{}',
    });
    expect(again.status).toBe(401);
  });

  it('is let in by no code that was used, by no answer to another, and by no cookie of another server', async () => {
    const { browser, address } = await loginOnPage('s-ann');
    const way = browser.cookieFor(page().host);
    expect((await browser.ask(address, 'GET')).status).toBe(303);
    const once = await fetch(address, { redirect: 'manual', headers: { cookie: way } });
    expect([once.status, once.headers.getSetCookie().length]).toEqual([401, 1]);
    // The victim follows the attacker's link.
    const attacker = await loginOnPage('s-bob');
    const victim = await loginOnPage('s-ann');
    const other = await victim.browser.ask(attacker.address, 'GET');
    expect(other.status).toBe(401);
    expect(await other.text()).toMatch(/belongs to another login/);
    expect((await new Browser().ask((await loginOnPage('s-ann')).address, 'GET')).status).toBe(401);
    const id = readFileSync(join(server.dataFolder, 'orchestrator.id'), 'utf8').slice(0, 8);
    const cookie = `espalier-${id}=${Date.now() + 1e6}.login-000000000000.AAAA`;
    const answer = await fetch(`${server.webAddress}/espalier.v1.AccessService/GetCaller`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', cookie },
      body: '{}',
    });
    expect([answer.status, JSON.stringify(await answer.json())]).toEqual([401, expect.stringContaining('LOGIN_NEEDED')]);
  });

  it.each(['//evil.example.org', '/\\evil.example.org', 'https://evil.example.org/', '/%09/evil.example.org\r\nx: y', '/../..//evil'])(
    'is led to no other site after a login: %s',
    async (to) => {
      const { browser, address } = await loginOnPage('s-ann', to);
      const back = await browser.ask(address, 'GET');
      const location = new URL(back.headers.get('location')!, server.webAddress);
      expect([back.status, location.origin]).toEqual([303, server.webAddress]);
    },
  );

  (PROGRAM === undefined ? it.skip : it)('of a real kind finds the button, comes back to its view, and logs out', async () => {
    const chromiumBrowser = await chromium.launch({ executablePath: PROGRAM!, headless: true, args: ['--no-sandbox', '--disable-gpu'] });
    try {
      const view = await chromiumBrowser.newPage();
      view.setDefaultTimeout(240_000); // only ends a test that hangs; a slow machine is not a failure
      provider.person = 's-ann';
      await view.goto(`${server.webAddress}/studies`);
      await view.getByText('Log in with Test lab').click();
      await view.getByLabel('Logged in as ann').click();
      expect(new URL(view.url()).pathname).toBe('/studies');
      await view.getByText('Log out').click();
      await view.getByText('This browser is not logged in').waitFor();
      expect((await view.context().cookies()).filter(({ name }) => name.startsWith('espalier-'))).toEqual([]);
    } finally {
      await chromiumBrowser.close();
    }
  });

  it('that names another host is not sent to the provider with it', async () => {
    const { port } = page();
    const answer = await fetch(`${server.webAddress}/login/start`, { redirect: 'manual', headers: { host: `evil.example.org:${port}` } });
    const location = answer.headers.get('location') ?? '';
    expect(location).not.toContain('evil');
  });
});

it('no secret of a person, of the client or of the provider is in the log, and the refresh token only in a file of the owner', () => {
  const { log } = server;
  expect(log).toContain('a person has logged in');
  for (const secret of secrets) expect(log).not.toContain(secret.slice(-30));
  const file = join(server.dataFolder, 'logins.json');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const { logins } = JSON.parse(readFileSync(file, 'utf8')) as { logins: { refreshToken: string }[] };
  expect(logins.length).toBeGreaterThan(0);
  for (const { refreshToken } of logins) expect(log).not.toContain(refreshToken);
  for (const secret of secrets.filter((one) => one.startsWith('espalierlogin_')))
    expect(readFileSync(file, 'utf8')).not.toContain(secret.slice(-43));
  expect(existsSync(join(server.dataFolder, 'logins.json.new'))).toBe(false);
});
