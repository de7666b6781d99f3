// Tests a fleet on a real Slurm as labs have it: the server is no root, people log in on its page and have accounts of their own, there are
// kinds of job, a standby stands by, and a backup is restored while jobs run. slurm.long.test.ts tests deaths and refusals.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChannelCredentials } from '@grpc/grpc-js';
import { startEmbeddedEventStore, type EmbeddedEventStore } from '#event-store';
import { programFile } from '#files';
import { bearerToken, v1 } from '#protocol';
import { Browser, CLIENT, freePort, OpenIdProvider } from './harness/openid-provider.js';
import { CLOSELY_MS, CORPUS, isEmpty, TestServer, TINY_MODEL, TINY_RUN, unary } from './harness/server.js';
import { TestSlurm, whyNoAccounts, whyNoSlurm } from './harness/slurm.js';
import { untilDriving } from './harness/standby.js';

const CLI = programFile(new URL('../../cli/src/main.js', import.meta.url));
const RUN: Partial<v1.RunSettings> = { totalSteps: 600, warmupSteps: 300, segmentSteps: 20 };
const SHORT: Partial<v1.RunSettings> = { totalSteps: 60, warmupSteps: 30 };
/** The user `daemon` of each Debian. A checkout that only root can read is no place for a server of another user. */
const DAEMON = 1;
const isReadable = spawnSync('test', ['-r', CLI], { uid: DAEMON, gid: DAEMON }).status === 0;
const why = whyNoSlurm();
const whyNot = whyNoAccounts();
if (whyNot !== null) process.stderr.write(`${whyNot}\n`);
if (!isReadable) process.stderr.write('a server that is not root is not tested on Slurm: other users can not read this checkout\n');

(why === null ? describe : describe.skip)('a Slurm of a lab', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-lab-'));
  const servers: TestServer[] = [];
  let slurm: TestSlurm;
  let provider: OpenIdProvider | null = null;
  let alone: string;
  let shortAlone: string;

  beforeAll(async () => {
    chmodSync(folder, 0o755);
    const local = TestServer.inNewFolder();
    await local.start();
    alone = (await local.completed((await local.launch(RUN)).runId)).stateDigest;
    shortAlone = (await local.completed((await local.launch(SHORT)).runId)).stateDigest;
    await local.dispose();
    slurm = await TestSlurm.start(whyNot === null ? ['lab', 'ann'] : []);
  });
  afterAll(async () => {
    for (const server of servers) await server.dispose();
    await provider?.stop();
    await slurm?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Starts a server with a fleet. @param more lines of the fleet's file */
  async function serverWith(name: string, more: string, env: Record<string, string> = {}, at?: { dataFolder: string; port: number }) {
    const port = at?.port ?? (await freePort());
    const file = join(folder, `${name}.yaml`);
    const base = `kind: slurm\nmax_engines: 2\ncpus: 1\npoll_seconds: 1\njoin: 127.0.0.1:${port}\npartitions: low\nmemory_gb: 1\n`;
    const write = (lines: string): void => writeFileSync(file, `${base}${lines}`);
    write(more);
    const all = { ...slurm.env, ESPALIER_LEASE_SECONDS: '4', ...env };
    const server = at === undefined ? TestServer.inNewFolder(all) : new TestServer(at.dataFolder, all);
    servers.push(server);
    server.options = ['--listen', `127.0.0.1:${port}`, '--fleet', file];
    return { server, port, write };
  }

  const launching = v1.LaunchRunRequest.fromPartial({
    modelPath: TINY_MODEL,
    data: { trainPath: CORPUS, validationPath: CORPUS },
    settings: { ...TINY_RUN, ...SHORT },
  });

  const withAccounts = whyNot === null ? it : it.skip;

  withAccounts('a person who logs in on the page trains in an account of their own; one that Slurm refuses holds up no other', async () => {
    provider = new OpenIdProvider(await freePort());
    provider.accounts.set('s-ann', { name: 'ann', groups: ['pruning'] });
    writeFileSync(join(folder, 'secret'), CLIENT.secret, { mode: 0o600 });
    chownSync(join(folder, 'secret'), isReadable ? DAEMON : 0, 0);
    const client = [`issuer: ${provider.issuer}`, `client_id: ${CLIENT.id}`, 'client_secret_file: secret', 'scopes: [profile, groups]'];
    const roles = ['roles:', '  claim: groups', '  operator: [pruning]'];
    writeFileSync(join(folder, 'oidc.yaml'), [...client, ...roles].join('\n'));
    const web = `127.0.0.1:${await freePort()}`;
    await provider.start({ redirectUris: [`http://${web}/login/callback`] });
    // No node has two processors, so Slurm refuses the first kind.
    const kinds = 'idle_seconds: 10\njobs: {wide: {cpus: 2}, usual: {}}\nsbatch: [--account=lab]\n';
    const { server, write } = await serverWith('accounts', kinds, { HOME: folder });
    server.userId = isReadable ? DAEMON : null;
    server.web = web;
    server.options.push('--oidc', join(folder, 'oidc.yaml'), '--data-root', TINY_MODEL, '--data-root', CORPUS);
    await server.start();

    provider.person = 's-ann';
    const browser = new Browser();
    const askedAt = `http://${web}/login/start?to=/`;
    const options = (): Promise<v1.GetLoginOptionsResponse> => unary((done) => server.access.getLoginOptions({}, done));
    while ((await options()).problem !== '') await sleep(50);
    const { address } = await browser.go(askedAt, ({ pathname }) => pathname === '/login/callback');
    await browser.ask(address, 'GET');
    const onPage = async (method: string, body: unknown): Promise<Record<string, unknown>> => {
      const headers = { 'content-type': 'application/json', cookie: browser.cookieFor(web) };
      const answer = await fetch(`http://${web}/espalier.v1.${method}`, { method: 'POST', headers, body: JSON.stringify(body) });
      return (await answer.json()) as Record<string, unknown>;
    };
    const { name: actor } = (await onPage('AccessService/GetCaller', {})) as { name: string };
    expect(actor).toMatch(/^login:.*:s-ann$/);
    write(`${kinds}accounts: {${JSON.stringify(actor)}: ann, "token:bob": none}\n`);
    const { secret } = await unary<v1.CreateTokenResponse>((done) =>
      server.access.createToken(v1.CreateTokenRequest.fromPartial({ name: 'bob', role: v1.Role.ROLE_OPERATOR, days: 1 }), done),
    );
    const asBob = new v1.RunServiceClient(server.listenAddress, ChannelCredentials.createInsecure(), bearerToken(secret));
    const bobs = await unary<v1.LaunchRunResponse>((done) => asBob.launchRun(launching, done)).finally(() => asBob.close());
    const bobsRun = bobs.run!.runId;
    const refused = await server.until(bobsRun, ({ waitingFor }) => /Invalid account/.test(waitingFor?.message ?? ''));
    expect(refused.waitingFor!.message).toMatch(/account none: sbatch: /);

    const { run } = (await onPage('RunService/LaunchRun', v1.LaunchRunRequest.toJSON(launching))) as { run: { runId: string } };
    const labs = await server.launch(SHORT);
    const owners = new Set<string>();
    await server.until(run.runId, ({ stateDigest }) => {
      for (const one of slurm.owners()) owners.add(one);
      return stateDigest === shortAlone;
    });
    expect((await server.completed(labs.runId)).stateDigest).toBe(shortAlone);
    const user = server.userId === null ? 'root' : 'daemon';
    expect([...owners]).toEqual(expect.arrayContaining([`${user} ann`]));
    const { ended } = await server.fleetUntil(isEmpty);
    expect([...new Set(ended.map(({ account }) => account))].sort()).toEqual(['', 'ann']); // on a busy machine an engine may come in vain
    expect(ended.every(({ engine }) => engine.startsWith('slurm-usual-'))).toBe(true);
    expect(server.log.match(/Invalid account/g)!.length).toBeLessThan(12);
    expect((await server.run(bobsRun)).step).toBe(0n);

    write(kinds);
    expect((await server.completed(bobsRun)).stateDigest).toBe(shortAlone);
    await server.fleetUntil(isEmpty);
    await server.dispose();
  });

  withAccounts('a limit of a QOS is why a run waits, and a QOS that Slurm refuses is a problem with pauses', async () => {
    slurm.account('add', 'qos', 'tight', 'set', 'MaxJobsPerUser=1');
    slurm.account('modify', 'user', 'root', 'set', 'qos+=tight');
    const { server, write } = await serverWith('qos', 'idle_seconds: 1\nsbatch: [--qos=tight]\n');
    await server.start();
    const first = await server.launch(RUN);
    const second = await server.launch(RUN);
    const limited = ({ waitingFor }: v1.Run): boolean => waitingFor?.message.includes('QOSMaxJobsPerUserLimit') === true;
    await Promise.race([server.until(first.runId, limited), server.until(second.runId, limited)]);
    for (const { runId } of [first, second]) expect((await server.completed(runId)).stateDigest).toBe(alone);
    expect(server.log).not.toContain('FLEET_JOB_');
    await server.fleetUntil(isEmpty);

    write('idle_seconds: 5\nsbatch: [--qos=absent]\n');
    const { runId } = await server.launch(SHORT);
    await server.until(runId, ({ waitingFor }) => /Invalid qos/.test(waitingFor?.message ?? ''));
    expect((await server.fleetUntil(({ problem }) => problem !== undefined)).problem!.code).toBe('FLEET_JOB_REFUSED');
    write('idle_seconds: 5\n');
    expect((await server.completed(runId)).stateDigest).toBe(shortAlone);
    expect(server.log.match(/Invalid qos/g)!.length).toBeLessThan(6);
    await server.fleetUntil(isEmpty);
    await server.dispose();
  });

  it('a restored server finds the jobs of the former one, counts them, and ends them by command alone', async () => {
    const { server, port } = await serverWith('former', 'idle_seconds: 600\n');
    await server.start();
    const { runId } = await server.launch(RUN);
    await server.until(runId, ({ step }) => step >= 20n, CLOSELY_MS);
    const espalier = (dataFolder: string, ...words: string[]): Record<string, unknown> =>
      JSON.parse(execFileSync(process.execPath, [CLI, '--data-folder', dataFolder, ...words, '--json'], { encoding: 'utf8' })) as Record<
        string,
        unknown
      >;
    espalier(server.dataFolder, 'backup', join(folder, 'backups'));
    const [job] = (await server.fleetUntil(({ jobs }) => jobs.length > 0)).jobs;
    await server.kill();
    await server.orphansGone();
    const elsewhere = join(folder, 'restored');
    expect(espalier(elsewhere, 'restore', join(folder, 'backups'))).toMatchObject({ leaves_jobs: true });
    const restored = (await serverWith('restored', 'idle_seconds: 10\n', {}, { dataFolder: elsewhere, port })).server;
    await restored.start();
    const { strays } = await restored.fleetUntil((fleet) => fleet.strays.length > 0);
    expect(strays.map(({ id }) => id)).toEqual([job!.id]);
    expect(slurm.jobs().map(({ id }) => id)).toContain(job!.id);
    await unary((done) => restored.engineService.cancelFleetJobs({ ids: [job!.id] }, done));
    expect((await restored.completed(runId)).stateDigest).toBe(alone);
    const { ended } = await restored.fleetUntil((fleet) => isEmpty(fleet) && fleet.strays.length === 0);
    expect(ended.map(({ id }) => id)).not.toContain(job!.id);
    await slurm.until(() => slurm.jobs().length === 0, 'the end of all jobs');
  });

  it('a standby asks for no job until it drives, and then trains on with a fleet of its own', async () => {
    const storeFolder = join(folder, 'store');
    const eventStore: EmbeddedEventStore = await startEmbeddedEventStore({ folder: storeFolder });
    const env = { ESPALIER_EVENT_STORE: eventStore.connectionString };
    const { server: driver } = await serverWith('driver', 'idle_seconds: 5\n', env);
    const { server: standby } = await serverWith('standby', 'idle_seconds: 5\n', env);
    await driver.start();
    await standby.start();
    const before = slurm.submitted();
    const { runId } = await driver.launch(RUN);
    await driver.until(runId, ({ step }) => step >= 20n, CLOSELY_MS);
    expect(slurm.submitted()).toBe(before + 1);
    await driver.kill();
    await driver.orphansGone();
    await untilDriving(standby);
    expect((await standby.completed(runId)).stateDigest).toBe(alone);
    const { ended } = await standby.fleetUntil(isEmpty);
    expect(ended.map(({ joined }) => joined)).toEqual([true]);
    expect(slurm.submitted()).toBe(before + 2);
    await slurm.until(() => slurm.jobs().length === 0, 'the end of the job of the server that died');
    await standby.dispose();
    await eventStore.stop();
  });
});
