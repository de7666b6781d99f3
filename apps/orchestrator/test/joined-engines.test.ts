// Tests an engine that dials in, and clients that are not engines. Deaths, cuts and other networks, and that the bits are those of a local
// engine, are in joined-engines.long.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelCredentials, type ServiceError } from '@grpc/grpc-js';
import { ownVersion } from '#files';
import { bearerToken, fromServiceError, releaseOf, v1 } from '#protocol';
import { isIdle, JoiningEngine, listedUntil, serverWithoutEngines, tokenFilesIn } from './harness/joining-engine.js';
import { recordProblems } from './harness/record-checks.js';
import { collect, unary, type TestServer } from './harness/server.js';

const EXIT_NOT_LET_IN = 4;
const folder = mkdtempSync(join(tmpdir(), 'espalier-joined-'));
const file = (name: string): string => join(folder, name);

const tokenFile = tokenFilesIn(folder);

describe('an engine that dials in on this machine', () => {
  let server: TestServer;
  let token: string;
  const joining = (name: string, by = token): JoiningEngine =>
    new JoiningEngine(['--join', server.listenAddress, '--token-file', by, '--name', name]);

  beforeAll(async () => {
    server = await serverWithoutEngines('127.0.0.1', ['--web', '127.0.0.1:0']);
    token = await tokenFile(server.access, v1.Role.ROLE_ENGINE, 'lab');
  });
  afterAll(async () => {
    await JoiningEngine.endAll();
    await server.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is waited for, listed with who let it in, and trains a whole run; it leaves in good order', async () => {
    await expect(server.launch({})).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' });
    const engine = joining('one');
    const [listed] = await listedUntil(server, isIdle('one'));
    expect(listed).toMatchObject({ local: false, threads: 1, joined: { admittedAs: 'token:lab', connected: true } });
    expect(listed!.joined!.peer).toMatch(/^127\.0\.0\.1:\d+$/);
    const { runId } = await server.launch({});
    await server.completed(runId);
    expect(recordProblems(await server.events(runId))).toEqual([]);
    expect(await engine.end('SIGTERM')).toBe(0);
    await listedUntil(server, (all) => all.length === 0);
    expect(server.log).toContain('"inGoodOrder":true');
  });

  it('is checked by another engine than trained the run, and the record says so', async () => {
    const engines = [joining('one'), joining('two')];
    await listedUntil(server, (all) => isIdle('one')(all) && isIdle('two')(all));
    const { runId } = await server.launch({});
    const { engineName: trained } = await server.completed(runId);
    const other = trained === 'one' ? 'two' : 'one';
    const request = v1.VerifyRunRequest.fromPartial({ runId, replay: true, sample: 2 });
    const { summary } = (await collect(server.history.verifyRun(request))).at(-1)!;
    expect(summary).toMatchObject({ ok: true, problems: [], replayEngines: [{ name: other, other: true }] });
    const { replayedSteps } = summary!;
    expect(summary!.replays).toEqual({ agreeing: replayedSteps, byOtherEngine: replayedSteps, differing: 0n, engines: [other] });
    const { summary: line } = (await server.events(runId)).find(({ type }) => type === 'StepsReplayed')!;
    expect(line).toBe(
      `${replayedSteps} steps computed again by a verification on engine ${other}, another than the one that trained them: equal bits`,
    );
    for (const engine of engines) await engine.end('SIGTERM');
    await listedUntil(server, (all) => all.length === 0);
  });

  it('counts as lost when it is killed, and not when it left in good order', async () => {
    const losses = async (): Promise<string | undefined> => {
      const page = await fetch(`${server.webAddress}/metrics`, { headers: { authorization: `Bearer ${server.token}` } });
      return /^espalier_engine_losses_total (\d+)$/m.exec(await page.text())?.[1];
    };
    expect(await losses()).toBe('0'); // the engines of the tests before have left
    const engine = joining('one');
    await listedUntil(server, isIdle('one'));
    await server.completed((await server.launch({})).runId);
    await engine.end('SIGKILL');
    while ((await losses()) !== '1') await sleep(100);
  });

  it('has its name alone', async () => {
    joining('one');
    await listedUntil(server, isIdle('one'));
    const second = joining('one');
    await second.says('ENGINE_NAME_TAKEN');
    expect(second.log).toContain('is still there: give this one another --name');
    await second.end('SIGKILL');
    expect(await joining('../one').exitCode()).toBe(EXIT_NOT_LET_IN);
    expect(await server.engines()).toHaveLength(1);
  });

  it('ends at once when its token is revoked, and tokens of others do not let it in', async () => {
    const short = await tokenFile(server.access, v1.Role.ROLE_ENGINE, 'short');
    const engine = joining('two', short);
    await listedUntil(server, isIdle('two'));
    await unary((done) => server.access.revokeToken({ token: 'short' }, done));
    expect(await engine.exitCode()).toBe(EXIT_NOT_LET_IN);
    expect(engine.log).toContain('TOKEN_REVOKED');
    await listedUntil(server, (all) => all.every(({ name }) => name !== 'two'));
    writeFileSync(file('two-lines'), 'espalier_secret\nespalier_secret', { mode: 0o600 });
    for (const [code, by] of [
      ['TOKEN_REVOKED', short],
      ['ROLE_TOO_LOW', await tokenFile(server.access, v1.Role.ROLE_OPERATOR, 'operator')],
      ['FILE_UNUSABLE', file('nowhere')],
      ['FILE_UNUSABLE', file('two-lines')],
    ] as const) {
      const refused = joining('three', by);
      expect(await refused.exitCode()).toBe(EXIT_NOT_LET_IN);
      expect(refused.log).toContain(code);
      expect(refused.log).not.toContain('espalier_secret');
    }
  });

  it.each<[string, Partial<v1.JoinRequest>[], string]>([
    ['the name of another release', [{ hello: { ...hello('junk'), release: '0.0.9 abc' } }], 'ENGINE_OF_OTHER_RELEASE'],
    ['nothing about itself', [{ piece: Buffer.from('x') }], 'FIELD_REQUIRED'],
    ['bytes beside its name', [{ hello: hello('junk'), piece: Buffer.from('x') }], 'REQUEST_INVALID'],
    ['its name twice', [{ hello: hello('junk') }, { hello: hello('junk') }], 'REQUEST_INVALID'],
    ['too much at once', [{ hello: hello('junk') }, { piece: Buffer.alloc(300_000) }], 'FIELD_OUT_OF_RANGE'],
    ['no HTTP/2', [{ hello: hello('junk') }, { piece: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'.repeat(50)) }], 'ENGINE_LOST'],
  ])('that sends %s loses its stream, and the server goes on', async (_, messages, code) => {
    const client = new v1.EngineGatewayServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), bearerToken(server.token));
    const call = client.join();
    call.on('data', () => undefined).on('error', () => undefined);
    const ended = new Promise<ServiceError>((resolve) => call.once('status', resolve));
    for (const message of messages) call.write(v1.JoinRequest.fromPartial(message));
    expect(fromServiceError(await ended).code).toBe(code);
    client.close();
    expect(await server.health()).toBe('SERVING');
    await listedUntil(server, isIdle('one'));
  });
});

function hello(name: string): v1.JoinHello {
  return { name, instance: 'an-instance', host: 'a host', release: releaseOf(ownVersion()) };
}
