// Tests engines that dial in and are disturbed, with real processes: deaths and cuts over loopback, TLS, and a network that delays and
// breaks. joined-engines.test.ts has an undisturbed one, and clients that are not engines.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelCredentials } from '@grpc/grpc-js';
import { newAuthority, signedBy } from '#local-access';
import { bearerToken, v1 } from '#protocol';
import { isIdle, JoiningEngine, listedUntil, serverWithoutEngines, tokenFilesIn, Way } from './harness/joining-engine.js';
import { recordProblems } from './harness/record-checks.js';
import { HANGS_AFTER_MS, TestServer } from './harness/server.js';

const EXIT_NOT_LET_IN = 4;
const RUN: Partial<v1.RunSettings> = { totalSteps: 160, warmupSteps: 80 };
const { ENGINE_STATUS_UNREACHABLE } = v1.EngineStatus;
const folder = mkdtempSync(join(tmpdir(), 'espalier-joined-'));
const file = (name: string): string => join(folder, name);

const servers: TestServer[] = [];

afterAll(async () => {
  await JoiningEngine.endAll();
  Way.closeAll();
  for (const server of servers) await server.dispose();
  rmSync(folder, { recursive: true, force: true });
});

async function startServer(host?: string, options?: string[]): Promise<TestServer> {
  const server = await serverWithoutEngines(host, options);
  servers.push(server);
  return server;
}

const tokenFile = tokenFilesIn(folder);

/** One call trains the whole run, so a cut of the connection falls within a segment. */
const ONE_CALL: Partial<v1.RunSettings> = { totalSteps: 420, warmupSteps: 210, recipe: v1.Recipe.RECIPE_DISTILL, segmentSteps: 60 };
/** The state that the run ends with on an engine of the server's own. */
let alone: string;
let aloneInOneCall: string;
beforeAll(async () => {
  const server = TestServer.inNewFolder();
  await server.start();
  alone = (await server.completed((await server.launch(RUN)).runId)).stateDigest;
  aloneInOneCall = (await server.completed((await server.launch(ONE_CALL)).runId)).stateDigest;
  await server.dispose();
});

describe('an engine that dials in on this machine', () => {
  let server: TestServer;
  let token: string;
  const joining = (name: string, by = token): JoiningEngine =>
    new JoiningEngine(['--join', server.listenAddress, '--token-file', by, '--name', name]);

  beforeAll(async () => {
    server = await startServer();
    token = await tokenFile(server.access, v1.Role.ROLE_ENGINE, 'lab');
  });

  it('is told to end in the middle of a run: it hands in its segment, and the next one goes on from there', async () => {
    let engine = joining('one');
    await listedUntil(server, isIdle('one'));
    const run = await server.disturbed({
      launch: () => server.launch(RUN),
      when: ({ step }) => step >= 20n,
      by: async () => {
        expect(await engine.end('SIGTERM')).toBe(0);
        engine = joining('one');
        return undefined;
      },
    });
    expect(run.stateDigest).toBe(alone);
    const lost = (await server.events(run.runId)).map(({ summary }) => summary).filter((one) => one.includes('lost its engine'));
    expect(lost).toEqual([expect.stringContaining('ENGINE_LEFT')]);
    expect(await engine.end('SIGTERM')).toBe(0);
    await listedUntil(server, (all) => all.length === 0);
  });

  it('is killed in the middle of a run, which ends the same on the next one of its name', async () => {
    let engine = joining('one');
    await listedUntil(server, isIdle('one'));
    const run = await server.disturbed({
      launch: () => server.launch(RUN),
      when: ({ step }) => step >= 20n,
      by: async () => {
        await engine.end('SIGKILL');
        await listedUntil(server, ([one]) => one!.status === ENGINE_STATUS_UNREACHABLE && !one!.joined!.connected);
        engine = joining('one');
        return undefined;
      },
    });
    expect(run.stateDigest).toBe(alone);
    expect(recordProblems(await server.events(run.runId))).toEqual([]);
    expect(await engine.end('SIGTERM')).toBe(0);
  });

  it.each<[string, { beyondLease: boolean }]>([
    ['and is back within its lease: it hands in its segment, and the attempt goes on', { beyondLease: false }],
    ['and is back when its lease is over: the next attempt trains the segment again, in the same bits', { beyondLease: true }],
  ])('is cut off in the middle of a segment %s', async (_, { beyondLease }) => {
    const way = await Way.to(server.listenAddress);
    const engine = new JoiningEngine(['--join', way.address, '--token-file', token, '--name', 'cut']);
    try {
      await listedUntil(server, isIdle('cut'));
      const run = await server.disturbed({
        launch: () => server.launch(ONE_CALL),
        when: ({ step }) => step >= 20n,
        by: async (runId) => {
          const before = engine.log.length;
          way.cut();
          const isInTraining = await comes(() => engine.log.includes('the client was cut off', before));
          if (beyondLease && isInTraining) await engine.says('did not come back within its lease', before);
          way.mend();
          if (beyondLease) return isInTraining;
          await server.until(runId, ({ status }) => status === v1.RunStatus.RUN_STATUS_COMPLETED);
          return engine.log.includes('the client is back', before);
        },
      });
      expect(run.stateDigest).toBe(aloneInOneCall);
      expect(run.attempt > 1).toBe(beyondLease);
      expect(recordProblems(await server.events(run.runId))).toEqual([]);
    } finally {
      expect(await engine.end('SIGTERM')).toBe(0);
      way.close();
    }
  });

  it('outlives a server that is killed, and goes on with its run', async () => {
    const engine = joining('one');
    await listedUntil(server, isIdle('one'));
    const run = await server.disturbed({
      launch: () => server.launch(ONE_CALL),
      when: ({ step }) => step >= 20n,
      by: () => server.killAll(),
    });
    expect(run.stateDigest).toBe(aloneInOneCall);
    expect(recordProblems(await server.events(run.runId))).toEqual([]);
    expect(engine.isOver).toBe(false);
    await listedUntil(server, isIdle('one'));
  });
});

describe('over TLS', () => {
  let server: TestServer;
  let token: string;

  beforeAll(async () => {
    const [authority, other] = [await newAuthority('an authority', 60), await newAuthority('another', 60)];
    const made = await signedBy(authority, { subject: 'a server', names: ['localhost'], use: 'server', days: 30 });
    writeFileSync(file('server.pem'), `${made.certificate}\n${authority.certificate}`);
    writeFileSync(file('server.key'), made.key, { mode: 0o600 });
    writeFileSync(file('authority.pem'), authority.certificate);
    writeFileSync(file('other.pem'), other.certificate);
    server = await startServer('127.0.0.1', ['--tls-cert', file('server.pem'), '--tls-key', file('server.key')]);
    const secret = ChannelCredentials.createSsl(Buffer.from(authority.certificate));
    const access = new v1.AccessServiceClient(server.listenAddress.replace('127.0.0.1', 'localhost'), secret, bearerToken(server.token));
    token = await tokenFile(access, v1.Role.ROLE_ENGINE, 'lab');
    access.close();
  });
  const joining = (address: string, authority: string): JoiningEngine =>
    new JoiningEngine(['--join', `https://${address}`, '--tls-ca', file(authority), '--token-file', token, '--name', 'secure']);

  it('it is let in by a server that it knows', async () => {
    const engine = joining(server.listenAddress.replace('127.0.0.1', 'localhost'), 'authority.pem');
    await engine.says('"joined"');
    for (const until = Date.now() + HANGS_AFTER_MS; !server.log.includes('engine attached') && Date.now() < until;) await sleep(20);
    expect(server.log).toContain('engine attached');
    expect(await engine.end('SIGTERM')).toBe(0);
  });

  it.each([
    ['of an unknown authority', 'localhost', 'other.pem', 'TLS_AUTHORITY_UNKNOWN'],
    ['for another name', '127.0.0.1', 'authority.pem', 'TLS_NAME_WRONG'],
  ])('it shows its token to no server %s', async (_, host, authority, code) => {
    const engine = joining(server.listenAddress.replace('127.0.0.1', host), authority);
    expect(await engine.exitCode()).toBe(EXIT_NOT_LET_IN);
    expect(engine.log).toContain(code);
  });
});

describe('from another network', () => {
  const id = process.pid % 10_000;
  const [space, here, there] = [`espalier-${id}`, `esp${id}a`, `esp${id}b`];
  const subnet = `10.213.${id % 250}`;
  const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' });
  const addNetwork = (): void => {
    ip('netns', 'add', space);
    ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', space);
    ip('address', 'add', `${subnet}.1/24`, 'dev', here);
    ip('link', 'set', here, 'up');
    ip('-n', space, 'address', 'add', `${subnet}.2/24`, 'dev', there);
    ip('-n', space, 'link', 'set', there, 'up');
  };
  const addDelay = (): string | null =>
    problemOf(() => execFileSync('tc', ['qdisc', 'add', 'dev', here, 'root', 'netem', 'delay', '200ms'], { stdio: 'pipe' }));
  const removeNetwork = (): void => {
    problemOf(() => ip('link', 'delete', here));
    problemOf(() => ip('netns', 'delete', space));
  };
  // The network is made as a trial and removed again, because these lines also run where another test is asked for.
  const problem = problemOf(addNetwork);
  const noDelay = addDelay();
  removeNetwork();
  afterAll(removeNetwork);

  const delay = noDelay === null ? ', with a delay of 200 ms' : '';
  const title = `is cut off in the middle of a run and brought back${delay}, and the run ends the same`;
  if (problem !== null) test.skip(`${title}: no network namespace can be had here (${problem})`, () => undefined);
  else {
    it(title, async () => {
      addNetwork();
      addDelay();
      const server = await startServer(`${subnet}.1`, ['--allow-insecure-remote']);
      const token = await tokenFile(server.access, v1.Role.ROLE_ENGINE, 'far');
      const args = ['--join', `http://${server.listenAddress}`, '--token-file', token, '--name', 'far'];
      const engine = new JoiningEngine(args, { prefix: ['ip', 'netns', 'exec', space] });
      const [listed] = await listedUntil(server, isIdle('far'));
      expect(listed!.joined!.peer).toContain(`${subnet}.2:`);
      const run = await server.disturbed({
        launch: () => server.launch(RUN),
        when: ({ step }) => step >= 20n,
        by: async () => {
          ip('-n', space, 'link', 'set', there, 'down');
          await listedUntil(server, ([one]) => !one!.joined!.connected);
          ip('-n', space, 'link', 'set', there, 'up');
          return undefined;
        },
      });
      expect(run.stateDigest).toBe(alone);
      expect(recordProblems(await server.events(run.runId))).toEqual([]);
      expect(engine.isOver).toBe(false);
      await listedUntil(server, isIdle('far'));
    });
  }

  it('trains as a local one does where each byte comes 200 ms late, and after a connection that went silent', async () => {
    const server = await startServer();
    const token = await tokenFile(server.access, v1.Role.ROLE_ENGINE, 'late');
    const way = await Way.to(server.listenAddress, 200);
    const engine = new JoiningEngine(['--join', way.address, '--token-file', token, '--name', 'late']);
    try {
      await listedUntil(server, isIdle('late'));
      const run = await server.disturbed({
        launch: () => server.launch(RUN),
        when: ({ step }) => step >= 20n,
        by: async () => {
          way.isSilent = true; // neither end knows that the other is gone
          await listedUntil(server, ([one]) => !one!.joined!.connected);
          way.isSilent = false;
          return undefined;
        },
      });
      expect(run.stateDigest).toBe(alone);
      expect(recordProblems(await server.events(run.runId))).toEqual([]);
      expect(engine.isOver).toBe(false);
      await listedUntil(server, isIdle('late'));
    } finally {
      way.close();
    }
  });
});

/** Tells whether the condition comes true soon. If not, the cut fell outside a segment, and another run is cut. */
async function comes(isTrue: () => boolean): Promise<boolean> {
  for (const until = Date.now() + 10_000; Date.now() < until;) {
    if (isTrue()) return true;
    await sleep(20);
  }
  return false;
}

/** Returns null where the work succeeded. */
function problemOf(work: () => void): string | null {
  try {
    work();
    return null;
  } catch (error) {
    return (error as Error).message.trim();
  }
}
