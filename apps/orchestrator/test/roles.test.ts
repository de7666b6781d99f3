// Tests on a real server who may call which method: every method that reflection knows, as every role, over gRPC and over HTTP.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { ChannelCredentials, Client, Metadata, status, type Channel, type ServiceError } from '@grpc/grpc-js';
import { bearerToken, EspalierError, fromServiceError, v1 } from '#protocol';
import { reflectedFile, reflectedServices } from './harness/reflection.js';
import { codeOf, CORPUS, ENDLESS, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';

const { ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN, ROLE_ENGINE } = v1.Role;
const ROLES = { viewer: ROLE_VIEWER, operator: ROLE_OPERATOR, admin: ROLE_ADMIN, engine: ROLE_ENGINE };
/** The roles that each token includes, the lowest first. An engine may only join, and an admin may do that, too. */
const MAY: Record<string, v1.Role[]> = {
  viewer: [ROLE_VIEWER],
  operator: [ROLE_VIEWER, ROLE_OPERATOR],
  admin: [ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN, ROLE_ENGINE],
  engine: [ROLE_ENGINE],
};
/** Tells whether a method has a stream in both directions, which HTTP/1.1 can't carry. */
const overGrpcOnly = (path: string): boolean => path.startsWith('/espalier.v1.EngineGatewayService/');
const ACCESS_OPTION = 50501; // see access.proto
/** Bytes that are not a message: a method that lets the caller in fails on them before it does anything. */
const NO_MESSAGE = Buffer.from([0xff]);

const roots = mkdtempSync(join(tmpdir(), 'espalier-roots-'));
const server = TestServer.inNewFolder();
server.web = '127.0.0.1:0';
server.options = ['--data-root', roots];
const tokens: Record<string, string> = {};
const clients: Client[] = [];
const plainClients = new Map<string, Client>();

beforeAll(async () => {
  await server.start();
  for (const [name, role] of Object.entries(ROLES)) tokens[name] = (await create({ name, role })).secret;
});
afterAll(async () => {
  for (const client of clients) client.close();
  await server.dispose();
  rmSync(roots, { recursive: true, force: true });
});

function create(request: Partial<v1.CreateTokenRequest>): Promise<v1.CreateTokenResponse> {
  return unary<v1.CreateTokenResponse>((done) =>
    server.access.createToken(v1.CreateTokenRequest.fromPartial({ days: 1, ...request }), done),
  );
}
const revoke = (token: string): Promise<unknown> => unary((done) => server.access.revokeToken({ token }, done));

function client<T extends Client>(
  make: new (address: string, credentials: ChannelCredentials, options: object) => T,
  token: string | null,
): T {
  const made = new make(server.listenAddress, ChannelCredentials.createInsecure(), bearerToken(token));
  clients.push(made);
  return made;
}

interface Method {
  path: string;
  access: v1.MethodAccess;
}

async function reflectedMethods(): Promise<Method[]> {
  const channel = client(Client, null).getChannel() as Channel;
  const services = (await reflectedServices(channel)).filter((name) => name.startsWith('espalier.'));
  const found: Method[] = [];
  for (const name of services) {
    const { service } = await reflectedFile(channel, name);
    for (const method of service.find((one) => name.endsWith(`.${one.name}`))!.method) {
      const option = method.options?.$unknown?.find(({ no }) => no === ACCESS_OPTION);
      const access = option === undefined ? v1.MethodAccess.fromPartial({}) : v1.MethodAccess.decode(new BinaryReader(option.data).bytes());
      found.push({ path: `/${name}/${method.name}`, access });
    }
  }
  return found;
}

/** Calls a method over gRPC. Returns the status and the code of the error. */
function overGrpc(path: string, token: string | null): Promise<string> {
  const key = `${server.listenAddress} ${token}`;
  const plain = plainClients.get(key) ?? client(Client, token);
  plainClients.set(key, plain);
  return new Promise((resolve) => {
    const same = (bytes: Buffer): Buffer => bytes;
    plain.makeUnaryRequest(path, same, same, NO_MESSAGE, new Metadata(), (error: ServiceError | null) => {
      resolve(error === null ? 'OK' : `${status[error.code]} ${fromServiceError(error).code}`);
    });
  });
}

async function overHttp(path: string, headers: Record<string, string>, type = 'application/proto'): Promise<string> {
  const answer = await fetch(server.webAddress + path, { method: 'POST', headers: { 'content-type': type, ...headers }, body: NO_MESSAGE });
  const text = `${await answer.text()} ${[...answer.headers].join(' ')}`;
  if (answer.status === 403 || /grpc-status,7\b/.test(text)) return 'PERMISSION_DENIED';
  return answer.status === 401 || /grpc-status,16\b/.test(text) ? 'UNAUTHENTICATED' : 'let in';
}

describe('every method, as every role', () => {
  /** The methods that need a token. */
  let methods: Method[];
  let open: Method[];
  beforeAll(async () => {
    const all = await reflectedMethods();
    methods = all.filter(({ access }) => !access.open);
    open = all.filter(({ access }) => access.open);
  });

  it('needs a token, but for the three that a login begins with', async () => {
    const path = '/espalier.v1.AccessService/';
    expect(open.map((method) => method.path)).toEqual(['GetLoginOptions', 'BeginLogin', 'FinishLogin'].map((name) => path + name));
    for (const one of open) {
      expect([one.path, await overGrpc(one.path, null)]).not.toEqual([
        one.path,
        expect.stringMatching(/UNAUTHENTICATED|PERMISSION_DENIED/),
      ]);
      expect([one.path, await overHttp(one.path, {})]).toEqual([one.path, 'let in']);
    }
    const strange = client(v1.AccessServiceClient, null);
    expect(await unary<v1.GetLoginOptionsResponse>((done) => strange.getLoginOptions({}, done))).toMatchObject({
      label: '',
      device: false,
    });
    await expect(unary((done) => strange.beginLogin({}, done))).rejects.toMatchObject({ code: 'LOGIN_NOT_OFFERED' });
    await expect(unary((done) => strange.finishLogin({ handle: 'x' }, done))).rejects.toMatchObject({ code: 'LOGIN_NOT_OFFERED' });
  });

  it('is beside two pages, which every role opens but an engine, whose token lets it join and does nothing else', async () => {
    for (const role of Object.keys(ROLES)) {
      const headers = { authorization: `Bearer ${tokens[role]}` };
      const metrics = await fetch(`${server.webAddress}/metrics`, { headers });
      const login = await fetch(`${server.webAddress}/login`, { method: 'POST', headers });
      const found = [role, metrics.status, login.status, login.headers.has('set-cookie')];
      expect(found).toEqual(role === 'engine' ? [role, 403, 403, false] : [role, 200, 204, true]);
    }
  });

  it('says who may call it', () => {
    expect(methods.length).toBeGreaterThan(40);
    expect(methods.filter(({ access }) => access.role === v1.Role.ROLE_UNSPECIFIED)).toEqual([]);
    const viewers = methods.filter(({ access }) => access.role === ROLE_VIEWER).map(({ path }) => path.slice(path.lastIndexOf('/') + 1));
    expect(viewers.filter((name) => !/^(Get|List|Query|Read|Watch|Group|Compare|Stat|Download|Export)/.test(name))).toEqual(['EndLogin']);
    // Only an admin changes another's work.
    const steering = methods.filter(({ path }) => /\/(Pause|Resume|Cancel|Describe|Delete|Discard|CollectGarbage)\w*$/.test(path));
    const least = steering.map(({ path, access }) => [path, access.onOthers || access.role]);
    expect(least.filter(([, role]) => role !== ROLE_ADMIN)).toEqual([]);
    expect(steering.length).toBeGreaterThan(7);
  });

  it.each(Object.keys(ROLES))('lets in or refuses a %s as it says, over gRPC, Connect and gRPC-Web alike', async (role) => {
    const wrong: string[] = [];
    const authorization = `Bearer ${tokens[role]}`;
    for (const { path, access } of methods) {
      const may = MAY[role]!.includes(access.role);
      const answers = [await overGrpc(path, tokens[role]!)];
      if (!overGrpcOnly(path))
        answers.push(await overHttp(path, { authorization }), await overHttp(path, { authorization }, 'application/grpc-web+proto'));
      const isRefused = answers.map((answer) => answer === 'PERMISSION_DENIED ROLE_TOO_LOW' || answer === 'PERMISSION_DENIED');
      if (isRefused.some((is) => is === may) || answers.some((answer) => answer.startsWith('UNAUTH')))
        wrong.push(`${path}: ${answers.join(', ')}`);
    }
    expect(wrong).toEqual([]);
  });

  it('refuses callers without a token, with a wrong one, and with one that was revoked', async () => {
    const { secret } = await create({ name: 'lost', role: ROLE_ADMIN });
    await revoke('lost');
    // A secret may end in any letter, so the wrong one ends in another.
    const admins = tokens['admin']!;
    const wrong = admins.slice(0, -1) + (admins.endsWith('A') ? 'E' : 'A');
    for (const { path } of methods) {
      expect([path, await overGrpc(path, null)]).toEqual([path, 'UNAUTHENTICATED TOKEN_NEEDED']);
      expect([path, await overGrpc(path, wrong)]).toEqual([path, 'UNAUTHENTICATED TOKEN_WRONG']);
      expect([path, await overGrpc(path, secret)]).toEqual([path, 'UNAUTHENTICATED TOKEN_REVOKED']);
      if (overGrpcOnly(path)) continue;
      expect([path, await overHttp(path, { authorization: `Bearer ${secret}` })]).toEqual([path, 'UNAUTHENTICATED']);
      expect([path, await overHttp(`${path}?token=${admins}`, {})]).toEqual([path, 'UNAUTHENTICATED']);
    }
  });
});

describe('an operator', () => {
  const launching = v1.LaunchRunRequest.fromPartial({
    modelPath: TINY_MODEL,
    data: { trainPath: CORPUS, validationPath: CORPUS },
    settings: { ...TINY_RUN, ...ENDLESS },
  });
  const inRoots = (modelPath: string): v1.LaunchRunRequest => ({ ...launching, modelPath });
  const refusalOf = (call: Promise<unknown>): Promise<string> =>
    call.then(
      () => 'OK',
      (error: unknown) => `${codeOf(error)} ${error instanceof EspalierError ? error.field : ''}`.trim(),
    );

  it('steers its own runs, and not those of others', async () => {
    const theirs = await server.launch(ENDLESS);
    const runs = client(v1.RunServiceClient, tokens['operator']!);
    const request = { runId: theirs.runId, reason: '' };
    expect(await refusalOf(unary((done) => runs.pauseRun(request, done)))).toBe('ROLE_TOO_LOW');
    expect(await refusalOf(unary((done) => runs.cancelRun(request, done)))).toBe('ROLE_TOO_LOW');
    const admin = client(v1.RunServiceClient, tokens['admin']!);
    const { run } = await unary<v1.CancelRunResponse>((done) => admin.cancelRun(request, done));
    expect(run!.launchedBy).not.toBe('token:admin');
    const events = await server.events(theirs.runId);
    expect(events.find(({ type }) => type === 'RunCancelled')!.context).toMatchObject({ actor: 'token:admin', roles: ['admin'] });
  });

  it('cancels its own jobs, and not those of others; a job goes on when the token that started it ends', async () => {
    const { runId } = await server.completed((await server.launch({})).runId);
    const { secret } = await create({ name: 'worker', role: ROLE_OPERATOR });
    const [worker, other] = [client(v1.RunServiceClient, secret), client(v1.RunServiceClient, tokens['operator']!)];
    const start = async (runs: v1.RunServiceClient): Promise<v1.Job> => {
      const request = v1.StartJobRequest.fromPartial({ work: { $case: 'evaluate', value: { runId } } });
      return (await unary<v1.StartJobResponse>((done) => runs.startJob(request, done))).job!;
    };
    const cancel = (runs: v1.RunServiceClient, { jobId }: v1.Job): Promise<string> =>
      refusalOf(unary((done) => runs.cancelJob({ jobId }, done)));
    const first = await start(worker);
    expect(first.startedBy).toBe('token:worker');
    expect(await cancel(other, first)).toBe('ROLE_TOO_LOW');
    expect(await cancel(worker, first)).toBe('OK');
    expect(server.log).toMatch(/"method":"[^"]*CancelJob","actor":"token:worker",.*"a command"/);
    // The engine does one job after another, so the last of them still waits when the token ends.
    const waiting = [await start(worker), await start(worker)];
    await revoke('worker');
    expect(await cancel(worker, waiting[0]!)).toBe('TOKEN_REVOKED');
    for (;;) {
      const { jobs } = await unary<v1.ListJobsResponse>((done) => server.runs.listJobs({ runId }, done));
      const states = waiting.map(({ jobId }) => jobs.find((job) => job.jobId === jobId)!.state);
      if (!states.includes(v1.JobState.JOB_STATE_RUNNING)) {
        expect(states).toEqual(waiting.map(() => v1.JobState.JOB_STATE_DONE));
        break;
      }
      await sleep(50);
    }
  });

  it('names models and texts in the folders of --data-root only, wherever a link leads', async () => {
    const runs = client(v1.RunServiceClient, tokens['operator']!);
    mkdirSync(join(roots, 'inside'));
    symlinkSync(TINY_MODEL, join(roots, 'out'));
    const launch = (modelPath: string): Promise<string> => refusalOf(unary((done) => runs.launchRun(inRoots(modelPath), done)));
    expect(await launch(TINY_MODEL)).toBe('PATH_NOT_ALLOWED model_path');
    expect(await launch(join(roots, 'out'))).toBe('PATH_NOT_ALLOWED model_path');
    expect(await launch(`${roots}/inside/../../${TINY_MODEL}`)).toBe('PATH_NOT_ALLOWED model_path');
    expect(await launch(`${roots}x`)).toBe('PATH_NOT_ALLOWED model_path');
    expect(await launch(join(roots, 'inside'))).toBe('PATH_NOT_ALLOWED data.train_path');
    expect(await refusalOf(unary((done) => runs.planRun(v1.PlanRunRequest.fromPartial({ modelPath: '/etc' }), done)))).toBe(
      'PATH_NOT_ALLOWED model_path',
    );
  });
});

describe('a token that is taken back', () => {
  it('ends the streams that are open with it, over gRPC and over HTTP, and logs its browsers out', async () => {
    const { runId } = await server.launch(ENDLESS);
    await server.pause(runId); // it is watched all the same
    const { secret } = await create({ name: 'guest', role: ROLE_VIEWER });
    const authorization = `Bearer ${secret}`;
    const login = await fetch(`${server.webAddress}/login`, { method: 'POST', headers: { authorization } });
    const cookie = login.headers.get('set-cookie')!;
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict; Max-Age=86[34]\d\d$/);
    const shown = { cookie: cookie.split(';')[0]! };
    expect(await overHttp('/espalier.v1.RunService/ListRuns', shown)).toBe('let in');
    expect(await overHttp('/espalier.v1.RunService/LaunchRun', shown)).toBe('PERMISSION_DENIED');

    const follow = client(v1.RunServiceClient, secret).watchRun(v1.WatchRunRequest.fromPartial({ runId }));
    let hear: () => void = () => undefined;
    const heard = new Promise<void>((resolve) => (hear = resolve));
    const ofGrpc = (async () => {
      try {
        for await (const _message of follow) hear();
        return 'OK';
      } catch (error) {
        return fromServiceError(error as ServiceError).code;
      }
    })();
    const question = Buffer.from(JSON.stringify({ runId }));
    const envelope = Buffer.concat([Buffer.from([0, 0, 0, 0, question.length]), question]);
    const ofHttp = await fetch(`${server.webAddress}/espalier.v1.RunService/WatchRun`, {
      method: 'POST',
      headers: { 'content-type': 'application/connect+json', ...shown },
      body: envelope,
    });
    await heard;
    await revoke('guest');
    expect(await ofGrpc).toBe('TOKEN_REVOKED');
    expect(await ofHttp.text()).toMatch(/"code":"unauthenticated"/);
    expect(await overHttp('/espalier.v1.RunService/ListRuns', shown)).toBe('UNAUTHENTICATED');
    await unary((done) => server.runs.cancelRun({ runId, reason: '' }, done));
  });

  it('stays taken back after a restart, as the others stay valid; no secret is in the log or the data folder', async () => {
    await revoke('viewer');
    const before = server.log;
    await server.kill();
    await server.start();
    expect(await overGrpc('/espalier.v1.RunService/ListRuns', tokens['viewer']!)).toBe('UNAUTHENTICATED TOKEN_REVOKED');
    expect(await overGrpc('/espalier.v1.RunService/LaunchRun', tokens['operator']!)).not.toMatch(/UNAUTHENTICATED|PERMISSION_DENIED/);
    for (const secret of Object.values(tokens)) expect(before).not.toContain(secret.slice(-43));
    expect(before).toContain('ROLE_TOO_LOW');
  });
});
