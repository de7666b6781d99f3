// A stand-in for the API of a Kubernetes cluster, with the parts that a fleet uses: jobs, their pods and secrets. A pod is a process of
// this machine. The answers follow the documentation of Kubernetes; no real cluster was asked.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newAuthority, signedBy } from '#local-access';
import type { V1Job, V1Pod, V1Secret } from '@kubernetes/client-node';

const POD_FOLDER = '/etc/espalier';
const TOKEN = 'of-the-cluster';

interface Kept {
  job: V1Job & { metadata: { name: string; labels: Record<string, string> } };
  pod: V1Pod;
  child: ChildProcess | null;
}

export class TestKubernetes {
  readonly folder = mkdtempSync(join(tmpdir(), 'espalier-kubernetes-'));
  private readonly secrets = new Map<string, V1Secret>();
  private readonly kept = new Map<string, Kept>();
  private server: Server | null = null;
  private port = 0;
  /** The number of pods that may run at once. */
  room = 2;
  /** The refusal of each request for a job, or null where jobs are accepted. */
  refusal: { status: number; message: string } | null = null;
  readonly refused: string[] = [];

  async start(): Promise<void> {
    const authority = await newAuthority('a cluster', 1);
    const own = await signedBy(authority, { subject: 'its API', names: ['127.0.0.1'], days: 1, use: 'server' });
    const identity = { cert: own.certificate, key: own.key };
    this.server = createServer(identity, (request, response) => void this.answer(request, response));
    await new Promise<void>((resolve) => this.server!.listen(this.port, '127.0.0.1', resolve));
    this.port = (this.server.address() as AddressInfo).port;
    const config = {
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
      clusters: [
        { name: 'test', cluster: { server: `https://127.0.0.1:${this.port}`, 'certificate-authority-data': btoa(authority.certificate) } },
      ],
      users: [{ name: 'test', user: { token: TOKEN } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace: 'lab' } }],
    };
    writeFileSync(this.kubeconfig, JSON.stringify(config));
  }

  get kubeconfig(): string {
    return join(this.folder, 'kubeconfig');
  }

  /** Takes the API away. Its pods go on. */
  async away(): Promise<void> {
    this.server!.closeAllConnections();
    await new Promise((resolve) => this.server!.close(resolve));
  }

  async stop(): Promise<void> {
    for (const { child } of this.kept.values()) child?.kill('SIGKILL');
    if (this.server?.listening === true) await this.away();
    rmSync(this.folder, { recursive: true, force: true });
  }

  get jobs(): string[] {
    return [...this.kept.keys()];
  }

  /** Deletes a job as `kubectl delete job` does: its pod is told to end. */
  delete(name: string): void {
    const { child } = this.kept.get(name)!;
    child?.kill('SIGTERM');
    this.kept.delete(name);
  }

  /** Kills a pod as the death of its node does: its process is gone, and the cluster notices later. */
  killNode(name: string): void {
    this.kept.get(name)!.child!.kill('SIGKILL');
  }

  /** Gives the free room to waiting pods. */
  schedule(): void {
    for (const one of this.kept.values()) if (one.child === null && one.pod.status!.phase === 'Pending') this.runIfRoom(one);
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const part of request) text += String(part);
    const [status, body] = this.reply(request, text === '' ? {} : (JSON.parse(text) as object));
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(status < 300 ? body : { kind: 'Status', status: 'Failure', code: status, message: body }));
  }

  private reply({ method, url, headers }: IncomingMessage, body: object): [status: number, body: unknown] {
    if (headers.authorization !== `Bearer ${TOKEN}`) return [401, 'Unauthorized'];
    const { pathname, searchParams } = new URL(url!, 'http://x');
    const [, kind, name] = /^\/(?:api\/v1|apis\/batch\/v1)\/namespaces\/lab\/(pods|jobs|secrets)(?:\/([a-z0-9-]+))?$/.exec(pathname) ?? [];
    const isOurs = (one: { metadata?: { labels?: Record<string, string> } }): boolean => {
      const [label = '', value] = (searchParams.get('labelSelector') ?? '').split('=');
      const own = one.metadata?.labels?.[label];
      return value === undefined ? own !== undefined : own === value;
    };
    switch (`${method} ${kind}`) {
      case 'GET pods':
        return [200, { items: [...this.kept.values()].map(({ pod }) => pod).filter(isOurs) }];
      case 'GET jobs':
        return [200, { items: [...this.kept.values()].map(({ job }) => job).filter(isOurs) }];
      case 'POST secrets': {
        const secret = body as V1Secret;
        if (this.secrets.has(secret.metadata!.name!)) return [409, 'AlreadyExists'];
        this.secrets.set(secret.metadata!.name!, secret);
        return [201, secret];
      }
      case 'PUT secrets':
        this.secrets.set(name!, body);
        return [200, body];
      case 'POST jobs':
        return this.create(body as Kept['job']);
      case 'DELETE jobs':
        if (!this.kept.has(name!)) return [404, `jobs.batch "${name}" not found`];
        this.delete(name!);
        return [200, {}];
    }
    return [404, `${method} ${pathname}`];
  }

  private create(job: Kept['job']): [number, unknown] {
    const { refusal } = this;
    if (refusal !== null) {
      this.refused.push(job.metadata.name);
      return [refusal.status, refusal.message];
    }
    if (this.kept.has(job.metadata.name)) return [409, 'AlreadyExists'];
    const { template } = job.spec!;
    const metadata = Object.assign({}, template.metadata, { name: `${job.metadata.name}-x`, creationTimestamp: new Date() });
    const waits = {
      type: 'PodScheduled',
      status: 'False',
      reason: 'Unschedulable',
      message: '0/1 nodes are available: 1 Insufficient cpu.',
    };
    const one: Kept = { job, pod: { metadata, spec: template.spec!, status: { phase: 'Pending', conditions: [waits] } }, child: null };
    this.kept.set(job.metadata.name, one);
    this.runIfRoom(one);
    return [201, job];
  }

  private runIfRoom(one: Kept): void {
    const running = [...this.kept.values()].filter(({ pod }) => pod.status!.phase === 'Running').length;
    if (running >= this.room) return;
    const { job, pod } = one;
    const folder = join(this.folder, job.metadata.name);
    mkdirSync(folder);
    const { secretName, defaultMode } = pod.spec!.volumes!.find(({ secret }) => secret !== undefined)!.secret!;
    const files = Object.entries(this.secrets.get(secretName!)!.stringData!);
    for (const [file, text] of files) writeFileSync(join(folder, file), text, { mode: defaultMode! });
    const [program, ...args] = pod.spec!.containers[0]!.command!.map((word) => word.replace(POD_FOLDER, folder));
    one.child = spawn(program!, args, { stdio: 'ignore' });
    pod.status = { phase: 'Running' };
    pod.spec!.nodeName = 'node-1';
    one.child.once('exit', (code) => {
      const state = { terminated: { exitCode: code ?? 137, reason: code === 0 ? 'Completed' : 'Error' } };
      pod.status = {
        phase: code === 0 ? 'Succeeded' : 'Failed',
        containerStatuses: [{ name: 'engine', image: '', imageID: '', ready: false, restartCount: 0, state }],
      };
      const reason = code === 0 ? {} : { reason: 'BackoffLimitExceeded' };
      job.status = { conditions: [{ type: code === 0 ? 'Complete' : 'Failed', status: 'True', ...reason }] };
      this.schedule();
    });
  }
}
