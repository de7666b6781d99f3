// Applies the chart of deploy/helm and the manifests of deploy/kubernetes to a real API server of Kubernetes, updates them, and works with
// the rights that they give. Skipped without such a server (HACKING.md says how to get one).
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  AuthorizationV1Api,
  BatchV1Api,
  CoreV1Api,
  KubernetesObjectApi,
  PatchStrategy,
  setHeaderOptions,
  type KubeConfig,
  type KubernetesObject,
  type V1ConfigMap,
} from '@kubernetes/client-node';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { readFleetFile } from '../src/fleets/fleet-file.js';
import { KubernetesHost } from '../src/fleets/kubernetes-host.js';
import type { KubernetesJob } from '../src/fleets/kubernetes-pod.js';
import { ApiServer, noApiServer } from './harness/kube-apiserver.js';

const DEPLOY = fileURLToPath(new URL('../../../../deploy/', import.meta.url));
const HELM = process.env['ESPALIER_HELM'] ?? 'helm';
const NAMESPACE = 'research';
const FULL = {
  image: { pullSecrets: ['registry'] },
  standby: { enabled: true },
  eventStore: { kurrentdb: { enabled: true } },
  artifacts: { location: 's3://bucket/lab' },
  fleet: {
    ...{ enabled: true, timeLimitMinutes: 240 },
    pod: { nodeSelector: { gpu: 'a100' }, tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }] },
    container: { env: [{ name: 'HF_HOME', value: '/data/hf' }] },
  },
  networkPolicy: { clients: [{ podSelector: {} }] },
};
const folder = mkdtempSync(join(tmpdir(), 'espalier-chart-'));
const cluster = new ApiServer();

(noApiServer === null ? describe : describe.skip)(`a real API server (${noApiServer ?? 'found'})`, () => {
  beforeAll(async () => {
    await cluster.start();
    const core = cluster.administrator.makeApiClient(CoreV1Api);
    for (const name of [NAMESPACE, 'espalier']) await core.createNamespace({ body: { metadata: { name } } });
    await core.createNamespacedSecret({ namespace: NAMESPACE, body: { metadata: { name: 'espalier-tls' } } });
  });
  afterAll(async () => {
    await cluster.stop();
    rmSync(folder, { recursive: true });
  });

  function rendered(values: object): KubernetesObject[] {
    const file = join(folder, 'values.yaml');
    writeFileSync(file, JSON.stringify(values));
    const words = ['template', 'lab', `${DEPLOY}helm/espalier`, '--namespace', NAMESPACE, '--values', file, '--kube-version', '1.31.0'];
    const text = execFileSync(HELM, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    return parseAllDocuments(text, { version: '1.1' }).flatMap((document) => (document.toJS() as KubernetesObject | null) ?? []);
  }

  /** Applies on the server, as `helm upgrade --install` with server-side apply does. */
  async function apply(objects: KubernetesObject[], namespace = NAMESPACE): Promise<void> {
    const api = KubernetesObjectApi.makeApiClient(cluster.administrator);
    for (const object of objects) {
      const old = object.kind === 'PodDisruptionBudget' ? { apiVersion: 'policy/v1beta1' } : {}; // the same fields, in a server before 1.21
      const placed = { ...object, ...old, metadata: { name: object.metadata!.name!, labels: object.metadata!.labels ?? {}, namespace } };
      await api.patch(placed, undefined, undefined, 'test', true, PatchStrategy.ServerSideApply);
    }
  }
  const refusal = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'done',
      (error: unknown) => (error as Error).message,
    );

  it.each<[string, object]>([
    ['by its defaults', {}],
    ['with everything', FULL],
  ])('takes the chart %s, twice', async (_how, values) => {
    await apply(rendered(values));
    await apply(rendered(values));
  });

  it('takes the manifests without a chart', async () => {
    for (const file of ['access.yaml', 'network.yaml', 'server.yaml'])
      await apply(
        parseAllDocuments(readFileSync(`${DEPLOY}kubernetes/${file}`, 'utf8')).map((one) => one.toJS() as KubernetesObject),
        'espalier',
      );
  });

  /** A client with the token of the server's own account. */
  async function server(account = 'lab', namespace = NAMESPACE): Promise<KubeConfig> {
    const core = cluster.administrator.makeApiClient(CoreV1Api);
    const body = { spec: { audiences: ['https://kubernetes.default.svc'], expirationSeconds: 3_600 } };
    const { status } = await core.createNamespacedServiceAccountToken({ name: account, namespace, body });
    return cluster.as(status!.token, namespace);
  }

  it('the account of the server may do what its fleet needs, and nothing else', async () => {
    await apply(rendered(FULL));
    const authorization = (await server()).makeApiClient(AuthorizationV1Api);
    const may = async (verb: string, resource: string, more: Record<string, string> = {}): Promise<boolean> => {
      const resourceAttributes = { namespace: NAMESPACE, verb, resource, ...more };
      const { status } = await authorization.createSelfSubjectAccessReview({ body: { spec: { resourceAttributes } } });
      return status!.allowed;
    };
    for (const verb of ['create', 'list', 'delete']) expect([verb, await may(verb, 'jobs', { group: 'batch' })]).toEqual([verb, true]);
    expect(await may('list', 'pods')).toBe(true);
    for (const name of ['lab-fleet', 'lab-standby-fleet']) expect(await may('patch', 'secrets', { name })).toBe(true);
    for (const verb of ['get', 'list', 'create', 'update', 'delete'])
      expect([verb, await may(verb, 'secrets', { name: 'lab-fleet' })]).toEqual([verb, false]);
    expect(await may('patch', 'secrets', { name: 'espalier-tls' })).toBe(false);
    expect(await may('patch', 'secrets')).toBe(false);
    expect(await may('create', 'jobs', { group: 'batch', namespace: 'espalier' })).toBe(false);
    for (const resource of ['pods', 'pods/exec', 'configmaps', 'nodes'])
      expect([resource, await may('create', resource)]).toEqual([resource, false]);
  });

  it('with these rights a fleet fills its Secret, and makes, sees and ends jobs; an update leaves the Secret filled', async () => {
    const objects = rendered(FULL);
    await apply(objects);
    const kubeconfig = join(folder, 'kubeconfig');
    writeFileSync(kubeconfig, (await server()).exportConfig(), { mode: 0o600 });
    const map = objects.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata!.name === 'lab-fleet') as V1ConfigMap;
    writeFileSync(join(folder, 'pod.yaml'), map.data!['pod.yaml']!);
    const given = { ...(parse(map.data!['fleet.yaml']!) as object), kubeconfig, namespace: NAMESPACE, tls_ca: undefined };
    writeFileSync(join(folder, 'fleet.yaml'), stringify(given));
    const { kubernetes, cpus, cards, memoryGb } = readFleetFile(join(folder, 'fleet.yaml'))!.jobs[0];
    const wishes = { cpus, cards, memoryGb };
    const mark = { fleetId: 'abc', folderId: 'folder', addressId: 'address' };
    const job = { mark, specId: 'spec', settings: kubernetes!, wishes, commandOf: () => ['espalier', 'engine'] };
    const hostOf = (one: KubernetesJob) => new KubernetesHost({ mark, specIdOf: () => one.specId }, () => one, one, null);
    const host = hostOf(job);

    expect(await host.submit('lab-1', '', 'first')).toBe('espalier-lab-1');
    expect(await host.look()).toMatchObject([{ id: 'espalier-lab-1', engine: 'lab-1', stage: 'waiting', isOutdated: false }]);
    const core = cluster.administrator.makeApiClient(CoreV1Api);
    const token = async (): Promise<string> => {
      const { data } = await core.readNamespacedSecret({ namespace: NAMESPACE, name: 'lab-fleet' });
      return Buffer.from(data!['token']!, 'base64').toString();
    };
    expect(await token()).toBe('first');
    await host.submit('lab-2', '', 'second');
    await apply(objects);
    expect(await token()).toBe('second');
    const { spec } = await cluster.administrator
      .makeApiClient(BatchV1Api)
      .readNamespacedJob({ namespace: NAMESPACE, name: 'espalier-lab-2' });
    expect(spec!.template.spec).toMatchObject({ nodeSelector: { gpu: 'a100' }, securityContext: { runAsNonRoot: true } });
    await host.cancel(['espalier-lab-1', 'espalier-lab-2']);
    expect(await host.look()).toEqual([]);
    const elsewhere = hostOf({ ...job, settings: { ...job.settings, secret: 'espalier-tls' } });
    await expect(elsewhere.submit('lab-3', '', 'third')).rejects.toMatchObject({ code: 'FLEET_JOB_REFUSED' });
  });

  it('takes each update of the chart but another volume, for which the set is removed without its pods first', async () => {
    await apply(rendered(FULL));
    await apply(rendered({ ...FULL, image: { tag: '9' }, resources: { limits: { memory: '8Gi' } }, nodeSelector: { disk: 'ssd' } }));
    await apply(rendered({ ...FULL, extraArgs: ['--runs-per-caller=4'], tls: { secretName: 'other' }, fleet: { enabled: true, gpus: 2 } }));
    const larger = rendered({ ...FULL, persistence: { storage: '400Gi' } });
    expect(await refusal(apply(larger))).toMatch(/updates to statefulset spec for fields other than .* are forbidden/);
    const api = KubernetesObjectApi.makeApiClient(cluster.administrator);
    for (const name of ['lab', 'lab-standby'])
      await api.delete(
        { apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name, namespace: NAMESPACE } },
        undefined,
        undefined,
        0,
        undefined,
        'Orphan',
      );
    // The controller that ends such a removal does not run here.
    for (const name of ['lab', 'lab-standby'])
      await api.patch(
        { apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name, namespace: NAMESPACE, finalizers: null } } as never,
        undefined,
        undefined,
        undefined,
        undefined,
        PatchStrategy.MergePatch,
      );
    await apply(larger);
  });

  it('helm itself installs the chart, updates it, refuses what can not be updated, and removes it', async () => {
    const chart = join(folder, 'espalier');
    cpSync(`${DEPLOY}helm/espalier`, chart, { recursive: true });
    // The API server is older than the chart asks for.
    writeFileSync(join(chart, 'Chart.yaml'), readFileSync(join(chart, 'Chart.yaml'), 'utf8').replace(/^kubeVersion:.*\n/m, ''));
    const kubeconfig = join(folder, 'administrator');
    writeFileSync(kubeconfig, cluster.administrator.exportConfig(), { mode: 0o600 });
    const helm = (...words: string[]): string =>
      execFileSync(HELM, [...words, '--kubeconfig', kubeconfig, '--namespace', 'espalier'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    const upgrade = (...values: string[]): string => helm('upgrade', '--install', 'own', chart, ...values.flatMap((one) => ['--set', one]));
    const core = cluster.administrator.makeApiClient(CoreV1Api);
    const fleetSecret = { namespace: 'espalier', name: 'own-fleet' };
    upgrade('fleet.enabled=true', 'eventStore.kurrentdb.enabled=true');
    const content = { data: { token: Buffer.from('a token').toString('base64') } };
    await core.patchNamespacedSecret({ ...fleetSecret, body: content }, setHeaderOptions('Content-Type', PatchStrategy.MergePatch));
    upgrade('fleet.enabled=true', 'eventStore.kurrentdb.enabled=true', 'fleet.cpus=16', 'image.tag=v9');
    expect((await core.readNamespacedSecret(fleetSecret)).data).toEqual(content.data);
    expect(() => upgrade('fleet.enabled=true', 'persistence.storage=400Gi')).toThrow(/StatefulSet.apps "own" is invalid/);
    expect(JSON.parse(helm('history', 'own', '--output', 'json'))).toMatchObject([{}, { status: 'deployed' }, { status: 'failed' }]);
    upgrade('fleet.enabled=false');
    await expect(core.readNamespacedSecret(fleetSecret)).rejects.toMatchObject({ code: 404 });
    helm('uninstall', 'own');
  });
});
