// Tests the manifests of a fleet of Kubernetes, and how the cluster's lists are read. In apps/orchestrator/test/kubernetes.long.test.ts a
// stand-in of the API answers.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as models from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import type { KubernetesSettings } from './fleet-settings.js';
import type { JobFinder } from './job-host.js';
import { jobFacts } from './kubernetes-facts.js';
import { unknownField } from './kubernetes-fields.js';
import { KubernetesHost } from './kubernetes-host.js';
import { jobManifest, LABELS, secretManifest, SETTINGS_ANNOTATION, type KubernetesJob } from './kubernetes-pod.js';

const JOB: KubernetesJob = {
  ...{ mark: { fleetId: 'abc', folderId: 'folder', addressId: 'address' }, specId: 'def' },
  wishes: { cpus: 8, cards: { type: null, count: 2 }, memoryGb: 64 },
  settings: {
    ...{ kubeconfig: null, context: null, namespace: null, image: 'espalier:1', secret: null, timeLimitMinutes: 60, graceSeconds: 90 },
    podTemplate: {
      metadata: { labels: { team: 'lab' } },
      spec: {
        nodeSelector: { card: 'a100' },
        volumes: [{ name: 'models', hostPath: { path: '/models' } }],
        containers: [
          {
            env: [{ name: 'A', value: 'b' }],
            resources: { limits: { 'ephemeral-storage': '9Gi' } },
            volumeMounts: [{ name: 'models', mountPath: '/models' }],
          },
        ],
      },
    },
  },
  commandOf: (engine) => ['espalier', 'engine', '--name', engine],
};

const FINDER: JobFinder = { mark: JOB.mark, specIdOf: () => JOB.specId };
const hostOf = (settings: Partial<KubernetesSettings>, authority: string | null = null): KubernetesHost => {
  const job = { ...JOB, settings: { ...JOB.settings, ...settings } };
  return new KubernetesHost(FINDER, () => job, job, authority);
};

describe('the manifest of a job', () => {
  const job = jobManifest(JOB, 'k-1');
  const pod = job.spec!.template;

  it('asks for what the fleet says, and bears its mark', () => {
    expect(job.metadata).toMatchObject({
      name: 'espalier-k-1',
      labels: { [LABELS.fleet]: 'abc' },
      annotations: { [SETTINGS_ANNOTATION]: 'def' },
    });
    expect(job.spec).toMatchObject({ backoffLimit: 0, activeDeadlineSeconds: 3_600 });
    expect(pod.spec).toMatchObject({ restartPolicy: 'Never', terminationGracePeriodSeconds: 90, automountServiceAccountToken: false });
    const resources = { cpu: '8', memory: '64Gi', 'nvidia.com/gpu': '2' };
    expect(pod.spec!.containers[0]!.resources).toEqual({ requests: resources, limits: { ...resources, 'ephemeral-storage': '9Gi' } });
  });

  it('has what the template of the user has, beside what the fleet sets', () => {
    expect(pod.metadata!.labels).toMatchObject({ team: 'lab', [LABELS.engine]: 'k-1' });
    expect(pod.spec!.nodeSelector).toEqual({ card: 'a100' });
    expect(pod.spec!.volumes!.map(({ name }) => name)).toEqual(['models', 'espalier-token']);
    expect(pod.spec!.containers).toHaveLength(1);
    expect(pod.spec!.containers[0]).toMatchObject({ name: 'engine', image: 'espalier:1', env: [{ name: 'A', value: 'b' }] });
    expect(pod.spec!.containers[0]!.volumeMounts!.map(({ mountPath }) => mountPath)).toEqual(['/models', '/etc/espalier']);
  });

  it('reads the token from the Secret that the file of the fleet names, or from one of its own', () => {
    const ofPod = (secret: string | null): unknown => {
      const { volumes } = jobManifest({ ...JOB, settings: { ...JOB.settings, secret } }, 'k-1').spec!.template.spec!;
      return volumes!.find(({ name }) => name === 'espalier-token')!.secret!.secretName;
    };
    expect([ofPod('lab-fleet'), ofPod(null)]).toEqual(['lab-fleet', 'espalier-fleet-abc']);
  });

  it("has the fields of Kubernetes' own types and no others", () => {
    expect(unknownField(job, 'V1Job', models)).toBeNull();
    expect(unknownField(secretManifest(JOB, { token: 'x' }), 'V1Secret', models)).toBeNull();
  });

  it.each([
    [{ nodeSelctor: {} }, 'spec.template.spec.nodeSelctor'],
    [{ tolerations: [{ key: 'a' }, { kee: 'b' }] }, 'spec.template.spec.tolerations.1.kee'],
  ])('a field that Kubernetes has not is found: %j', (spec, path) => {
    const settings = { ...JOB.settings, podTemplate: { spec } };
    expect(unknownField(jobManifest({ ...JOB, settings }, 'k-1'), 'V1Job', models)).toBe(path);
  });
});

const DEPLOY = fileURLToPath(new URL('../../../../../deploy/kubernetes/', import.meta.url));
it.each(['access.yaml', 'network.yaml', 'server.yaml'])("deploy/kubernetes/%s has the fields of Kubernetes' own types", (file) => {
  const manifests = parseAllDocuments(readFileSync(DEPLOY + file, 'utf8')).map((document) => document.toJS() as { kind: string });
  expect(manifests.length).toBeGreaterThan(1);
  for (const manifest of manifests) {
    expect(models).toHaveProperty(`V1${manifest.kind}`);
    expect([manifest.kind, unknownField(manifest, `V1${manifest.kind}`, models)]).toEqual([manifest.kind, null]);
  }
});

it('the data folder of deploy/kubernetes is below its volume, whose own folder is of root: the server could not close it to others', () => {
  const manifests = parseAllDocuments(readFileSync(`${DEPLOY}server.yaml`, 'utf8')).map(
    (document) => document.toJS() as models.V1StatefulSet,
  );
  const { command, volumeMounts } = manifests.find(({ kind }) => kind === 'StatefulSet')!.spec!.template.spec!.containers[0]!;
  const volume = volumeMounts!.find(({ name }) => name === 'data')!.mountPath;
  expect(command!.find((word) => word.startsWith('--data-folder='))).toMatch(new RegExp(`^--data-folder=${volume}/[a-z]+$`));
});

describe('the lists of a cluster', () => {
  const LABELLED = { [LABELS.fleet]: 'abc', [LABELS.engine]: 'k-1' };
  const job = (status: object = {}, more: object = {}): models.V1Job => ({
    metadata: { name: 'espalier-k-1', labels: LABELLED, annotations: { [SETTINGS_ANNOTATION]: 'def' }, ...more },
    status,
  });
  const pod = (status: object, more: object = {}): models.V1Pod => ({
    metadata: { name: 'espalier-k-1-x', labels: LABELLED, ...more },
    spec: { nodeName: 'n1', containers: [] },
    status,
  });
  const ended = (state: object): object => ({ phase: 'Failed', containerStatuses: [{ state: { terminated: state } }] });
  const unschedulable = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available' };

  it.each<[string, models.V1Job[], models.V1Pod[], object]>([
    ['no pod yet', [job()], [], { stage: 'waiting', reason: 'no pod yet', node: '' }],
    ['no room', [job()], [pod({ phase: 'Pending', conditions: [unschedulable] })], { reason: 'Unschedulable: 0/3 nodes are available' }],
    [
      'no image',
      [job()],
      [pod({ phase: 'Pending', containerStatuses: [{ state: { waiting: { reason: 'ImagePullBackOff', message: 'Back-off' } } }] })],
      { stage: 'waiting', reason: 'ImagePullBackOff: Back-off' },
    ],
    ['it runs', [job()], [pod({ phase: 'Running' })], { stage: 'running', reason: '', node: 'n1' }],
    [
      'it is told to end',
      [job()],
      [pod({ phase: 'Running' }, { deletionTimestamp: new Date() })],
      { stage: 'running', reason: 'Terminating' },
    ],
    ['its pod has ended', [job()], [pod({ phase: 'Succeeded' })], { stage: 'ending' }],
    [
      'done',
      [job({ conditions: [{ type: 'Complete', status: 'True' }] })],
      [pod({ phase: 'Succeeded' })],
      { stage: 'over', state: 'Complete', reason: '' },
    ],
    [
      'failed',
      [job({ conditions: [{ type: 'Failed', status: 'True', reason: 'BackoffLimitExceeded' }] })],
      [pod(ended({ exitCode: 2, reason: 'Error' }))],
      { stage: 'over', state: 'Failed', reason: 'exit code 2' },
    ],
    [
      'out of memory',
      [job({ conditions: [{ type: 'Failed', status: 'True' }] })],
      [pod(ended({ exitCode: 137, reason: 'OOMKilled' }))],
      { reason: 'OOMKilled' },
    ],
    [
      'its time is over',
      [job({ conditions: [{ type: 'Failed', status: 'True', reason: 'DeadlineExceeded' }] })],
      [],
      { stage: 'over', reason: 'DeadlineExceeded' },
    ],
    ['of other settings', [job({}, { annotations: {} })], [], { isOutdated: true }],
    ['a deleted job, and its pod', [], [pod({ phase: 'Running' })], { stage: 'ending', state: 'Terminating' }],
  ])('%s', (_, jobs, pods, fact) => {
    expect(jobFacts(jobs, pods, FINDER)).toEqual([expect.objectContaining({ engine: 'k-1', ...fact })]);
  });

  it("another fleet's job is a stray where its folder or address is ours, or not said, and else not listed", () => {
    const of = (labels: object): unknown[] => {
      const metadata = { labels: { [LABELS.fleet]: 'other', [LABELS.engine]: 'k-1', ...labels } };
      return jobFacts([job({}, metadata)], [], FINDER).map(({ owner }) => owner);
    };
    expect(of({})).toEqual(['stray']);
    expect(of({ [LABELS.folder]: 'folder', [LABELS.address]: 'theirs' })).toEqual(['stray']);
    expect(of({ [LABELS.folder]: 'theirs', [LABELS.address]: 'theirs' })).toEqual([]);
  });

  it('a failed pod says the last line of its output', () => {
    const end = { exitCode: 1, reason: 'Error', message: 'first\nno such model\n' };
    const failed = job({ conditions: [{ type: 'Failed', status: 'True' }] });
    expect(jobFacts([failed], [pod(ended(end))], FINDER)).toMatchObject([{ reason: 'exit code 1: no such model' }]);
  });

  it('a pod of an earlier time does not count beside a later one', () => {
    const earlier = pod(ended({ exitCode: 1 }), { creationTimestamp: new Date(1) });
    const later = pod({ phase: 'Running' }, { creationTimestamp: new Date(2) });
    expect(jobFacts([job()], [later, earlier], FINDER)).toEqual([expect.objectContaining({ stage: 'running' })]);
  });
});

it('a configuration that is not there is said', async () => {
  const host = hostOf({ kubeconfig: '/not/here' });
  await expect(host.look()).rejects.toMatchObject({ code: 'FLEET_UNREACHABLE', message: expect.stringContaining('/not/here') as string });
});

it.each([
  ['tls_ca', null, '/no/authority.pem'],
  ['kubeconfig', '/no/config', null],
])('a file that only the server reads is asked for at its start: %s', (key, kubeconfig, authority) => {
  const host = hostOf({ kubeconfig }, authority);
  const message = expect.stringMatching(new RegExp(`^${key}: .*${kubeconfig ?? authority}`)) as string;
  expect(() => host.requireFiles()).toThrow(expect.objectContaining({ code: 'FILE_UNUSABLE', message }) as Error);
});

it('a fleet that names no files needs none', () => {
  expect(() => hostOf({}).requireFiles()).not.toThrow();
});
