// A real API server of Kubernetes with its etcd, and no nodes. It decides what is stored and who may do what; nothing runs.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';

const PROGRAM = process.env['ESPALIER_KUBE_APISERVER'] ?? 'kube-apiserver';
const HELM = process.env['ESPALIER_HELM'] ?? 'helm';
const ADMIN_TOKEN = 'administrator';

const lacking = [
  [PROGRAM, '--version'],
  ['etcd', '--version'],
  [HELM, 'version'],
].filter(([program, word]) => spawnSync(program!, [word!]).status !== 0);
/** The reason why there can be no API server here, or null. */
export const noApiServer: string | null = lacking.length === 0 ? null : `no ${lacking.map(([program]) => program).join(', no ')}`;

export class ApiServer {
  private readonly folder = mkdtempSync(join(tmpdir(), 'espalier-kubernetes-'));
  private children: ChildProcess[] = [];
  private address = '';

  async start(): Promise<void> {
    const file = (name: string): string => join(this.folder, name);
    execFileSync('openssl', ['genrsa', '-out', file('accounts.key'), '2048'], { stdio: 'ignore' });
    writeFileSync(file('tokens.csv'), `${ADMIN_TOKEN},administrator,1,system:masters\n`, { mode: 0o600 });
    const [client, peer, port] = [await freePort(), await freePort(), await freePort()];
    const store = `http://127.0.0.1:${client}`;
    this.run('etcd', [
      ...['--data-dir', file('etcd'), '--unsafe-no-fsync', '--log-level', 'error'],
      ...['--listen-client-urls', store, '--advertise-client-urls', store, '--listen-peer-urls', `http://127.0.0.1:${peer}`],
    ]);
    this.run(PROGRAM, [
      ...[`--etcd-servers=${store}`, `--cert-dir=${file('certificates')}`, '--bind-address=127.0.0.1', `--secure-port=${port}`],
      ...['--service-account-issuer=https://kubernetes.default.svc', `--service-account-key-file=${file('accounts.key')}`],
      ...[`--service-account-signing-key-file=${file('accounts.key')}`, `--token-auth-file=${file('tokens.csv')}`],
      // No controller makes the account `default` of a namespace, which that plugin would ask for.
      ...['--authorization-mode=RBAC', '--service-cluster-ip-range=10.0.0.0/24', '--disable-admission-plugins=ServiceAccount'],
    ]);
    this.address = `https://127.0.0.1:${port}`;
    while (!this.isReady()) {
      if (this.children.some(({ exitCode }) => exitCode !== null)) throw new Error('the API server ended at its start');
      await sleep(100);
    }
  }

  async stop(): Promise<void> {
    for (const child of this.children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  get administrator(): KubeConfig {
    return this.as(ADMIN_TOKEN);
  }

  /** The configuration of a client with this token, whose namespace is `default` where it names no other. */
  as(token: string, namespace = 'default'): KubeConfig {
    const config = new KubeConfig();
    config.loadFromOptions({
      clusters: [{ name: 'test', server: this.address, skipTLSVerify: true }],
      users: [{ name: 'caller', token }],
      contexts: [{ name: 'test', cluster: 'test', user: 'caller', namespace }],
      currentContext: 'test',
    });
    return config;
  }

  private isReady(): boolean {
    const asked = ['-sk', '--max-time', '5', '-H', `Authorization: Bearer ${ADMIN_TOKEN}`, '-o', '/dev/null', '-w', '%{http_code}'];
    return spawnSync('curl', [...asked, `${this.address}/readyz`], { encoding: 'utf8' }).stdout === '200';
  }

  private run(program: string, words: string[]): void {
    this.children.push(spawn(program, words, { stdio: 'ignore', cwd: this.folder }));
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
