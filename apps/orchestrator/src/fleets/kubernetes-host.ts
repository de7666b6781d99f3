// A fleet of a Kubernetes cluster, by its API. Each engine is a Job with one pod. A job has the fleet's id as a label, so a server finds
// its jobs again and touches no other.
import type { BatchV1Api, CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { readUserFileSync } from '#files';
import { readCertificatesOnly } from '#local-access';
import { EspalierError, type ErrorCode } from '#protocol';
import type { JobFact, JobFinder, JobHost } from './job-host.js';
import { jobFacts } from './kubernetes-facts.js';
import { unknownField, type Models } from './kubernetes-fields.js';
import { jobManifest, jobName, LABELS, secretManifest, secretName, type KubernetesJob } from './kubernetes-pod.js';

const CALL_TIMEOUT_MS = 20_000;
/** The most jobs to list. A fleet has far fewer, even with those that have ended and are kept for a while. */
const LISTED_MAX = 1_000;
const MESSAGE_CHARACTERS_MAX = 500;
const KUBECONFIG_BYTES_MAX = 4 << 20;

interface Cluster {
  batch: BatchV1Api;
  core: CoreV1Api;
  namespace: string;
  models: Models;
}

export class KubernetesHost implements JobHost {
  private connected: Cluster | null = null;
  /** The content that this process has put into the cluster's Secret. */
  private secretText = '';

  /**
   * @param jobFor the settings with which a job for the engine of this name is asked for
   * @param cluster how the cluster is reached, and the Secret, which are the same for all jobs
   * @param authority the file with the authority of the server's certificate; null where the engines know the authority
   */
  constructor(
    private readonly finder: JobFinder,
    private readonly jobFor: (engine: string) => KubernetesJob,
    private readonly cluster: Pick<KubernetesJob, 'mark' | 'settings'>,
    private readonly authority: string | null,
  ) {}

  requireFiles(): void {
    const { kubeconfig } = this.cluster.settings;
    this.certificates();
    if (kubeconfig === null) return;
    try {
      readUserFileSync(kubeconfig, KUBECONFIG_BYTES_MAX);
    } catch (error) {
      throw new EspalierError('FILE_UNUSABLE', `kubeconfig: ${(error as Error).message}`, { cause: error });
    }
  }

  look(): Promise<JobFact[]> {
    return this.asked('FLEET_UNREACHABLE', async ({ batch, core, namespace }) => {
      const which = { namespace, labelSelector: LABELS.fleet, limit: LISTED_MAX };
      // Pods are listed first. A job that is made in between then has no pod yet, while a pod without its job would look like one that
      // ends.
      const pods = await core.listNamespacedPod(which);
      const jobs = await batch.listNamespacedJob(which);
      for (const { items, metadata } of [pods, jobs] as { items?: unknown; metadata?: { _continue?: string } }[])
        if (!Array.isArray(items) || (metadata?._continue ?? '') !== '')
          throw new EspalierError('FLEET_UNREACHABLE', 'Kubernetes: its answer is no whole list of jobs and pods');
      return jobFacts(jobs.items, pods.items, this.finder);
    });
  }

  submit(engine: string, _account: string, token: string): Promise<string> {
    return this.asked('FLEET_JOB_REFUSED', async (cluster) => {
      const body = jobManifest(this.jobFor(engine), engine);
      const unknown = unknownField(body, 'V1Job', cluster.models);
      if (unknown !== null) throw new EspalierError('FLEET_JOB_REFUSED', `pod_template: ${unknown} is not a field of Kubernetes`);
      await this.giveSecret(cluster, token);
      await cluster.batch.createNamespacedJob({ namespace: cluster.namespace, body });
      return jobName(engine);
    });
  }

  async cancel(ids: readonly string[]): Promise<void> {
    await this.asked('FLEET_UNREACHABLE', async ({ batch, namespace }) => {
      for (const name of ids) {
        try {
          // The pod is told to end, and still has its grace period.
          await batch.deleteNamespacedJob({ namespace, name, propagationPolicy: 'Background' });
        } catch (error) {
          if (statusOf(error) !== 404) throw error;
        }
      }
    });
  }

  logOf({ id }: Pick<JobFact, 'id'>): string {
    return `kubectl logs job/${id}`;
  }

  /** The cluster gives the last line as a part of the reason for the end. */
  lastLineOf(): string {
    return '';
  }

  /** Returns the certificates for the engines, or null where they need none. @throws EspalierError FILE_UNUSABLE */
  private certificates(): string | null {
    if (this.authority === null) return null;
    try {
      return readCertificatesOnly(this.authority);
    } catch (error) {
      throw new EspalierError('FILE_UNUSABLE', `tls_ca: ${(error as Error).message}`, { cause: error });
    }
  }

  private async giveSecret({ core, namespace }: Cluster, token: string): Promise<void> {
    const certificates = this.certificates();
    const files = { token, ...(certificates === null ? {} : { 'authority.pem': certificates }) };
    const text = JSON.stringify(files);
    if (text === this.secretText) return;
    const { secret } = this.cluster.settings;
    if (secret !== null) await this.fillSecret(core, { namespace, name: secret }, files);
    else await this.makeSecret(core, namespace, files);
    this.secretText = text;
  }

  /** Changes the files of a Secret that others have made. Their labels stay, and a file that is no longer needed goes. */
  private async fillSecret(core: CoreV1Api, which: { namespace: string; name: string }, files: Record<string, string>): Promise<void> {
    const encoded = Object.entries(files).map(([name, content]) => [name, Buffer.from(content).toString('base64')] as const);
    const data: Record<string, string | null> = { 'authority.pem': null, ...Object.fromEntries(encoded) };
    const { PatchStrategy, setHeaderOptions } = await import('@kubernetes/client-node');
    await core.patchNamespacedSecret({ ...which, body: { data } }, setHeaderOptions('Content-Type', PatchStrategy.MergePatch));
  }

  private async makeSecret(core: CoreV1Api, namespace: string, files: Record<string, string>): Promise<void> {
    const body = secretManifest(this.cluster, files);
    try {
      await core.createNamespacedSecret({ namespace, body });
    } catch (error) {
      if (statusOf(error) !== 409) throw error;
      await core.replaceNamespacedSecret({ namespace, name: secretName(this.cluster), body });
    }
  }

  /** @param code the code of the error for a request that the cluster refuses */
  private async asked<T>(code: ErrorCode, ask: (cluster: Cluster) => Promise<T>): Promise<T> {
    try {
      this.connected ??= await connect(this.cluster);
      return await ask(this.connected);
    } catch (error) {
      if (error instanceof EspalierError) throw error;
      const isOut = isUnreachable(error);
      // The next call reads the configuration again, since its user may have corrected it.
      if (isOut) this.connected = null;
      throw new EspalierError(isOut ? 'FLEET_UNREACHABLE' : code, `Kubernetes: ${messageOf(error)}`, { cause: error });
    }
  }
}

/** Connects to the cluster. The library is large, so only a fleet of this kind loads it. */
async function connect({ settings }: Pick<KubernetesJob, 'settings'>): Promise<Cluster> {
  const models = await import('@kubernetes/client-node');
  const { BatchV1Api: Batch, CoreV1Api: Core, createConfiguration, ServerConfiguration } = models;
  const config = new models.KubeConfig();
  if (settings.kubeconfig === null) config.loadFromDefault();
  else config.loadFromFile(settings.kubeconfig);
  if (settings.context !== null) {
    const known = config.getContexts().map(({ name }) => name);
    if (!known.includes(settings.context))
      throw new Error(`the configuration has no context ${settings.context}; it has ${known.join(', ') || 'none'}`);
    config.setCurrentContext(settings.context);
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null || (settings.kubeconfig === null && isMadeUp(config)))
    throw new Error('no cluster is known here: name a kubeconfig in the file of the fleet, or set KUBECONFIG');
  const configuration = createConfiguration({
    baseServer: new ServerConfiguration(cluster.server, {}),
    authMethods: { default: config },
    promiseMiddleware: [
      {
        pre: (request) => {
          request.setSignal(AbortSignal.timeout(CALL_TIMEOUT_MS));
          return Promise.resolve(request);
        },
        post: (response) => Promise.resolve(response),
      },
    ],
  });
  const namespace = settings.namespace ?? config.getContextObject(config.getCurrentContext())?.namespace ?? 'default';
  return { batch: new Batch(configuration), core: new Core(configuration), namespace, models };
}

/** Tells whether the library found no configuration: it then makes one for http://localhost:8080. */
function isMadeUp(config: KubeConfig): boolean {
  return config.getCurrentContext() === 'loaded-context' && config.getCurrentCluster()?.server === 'http://localhost:8080';
}

/** The HTTP status of the error, or undefined where the cluster did not answer. */
function statusOf(error: unknown): number | undefined {
  const { code } = error as { code?: unknown };
  return typeof code === 'number' ? code : undefined;
}

/** Tells whether the cluster did not answer, or answered with an error that may pass. */
function isUnreachable(error: unknown): boolean {
  const status = statusOf(error);
  return status === undefined || status === 401 || status === 429 || status >= 500;
}

/** Returns the cluster's own words, where it gave any. The library's words would contain the headers of the answer, too. */
function messageOf(error: unknown): string {
  const { name, body, message } = error as Error & { body?: unknown };
  if (name === 'AbortError' || name === 'TimeoutError') return `no answer within ${CALL_TIMEOUT_MS / 1_000} s`;
  const status = statusOf(error);
  if (status === undefined) return message.slice(0, MESSAGE_CHARACTERS_MAX);
  return `${saidIn(body) || 'refused without a word'} (HTTP ${status})`.slice(0, MESSAGE_CHARACTERS_MAX);
}

function saidIn(body: unknown): string {
  try {
    const said: unknown = typeof body === 'string' ? JSON.parse(body) : body;
    const { message } = said as { message?: unknown };
    return typeof message === 'string' ? message : '';
  } catch {
    return String(body).trim();
  }
}
