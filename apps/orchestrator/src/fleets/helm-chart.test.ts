// Renders the chart of deploy/helm by helm itself, and checks the manifests against Kubernetes' own types and against the files that the
// server reads. On a machine without helm these tests are skipped (.ci/run fetches helm).
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as models from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import { readFleetFile } from './fleet-file.js';
import { unknownField } from './kubernetes-fields.js';
import { jobManifest } from './kubernetes-pod.js';

const CHART = fileURLToPath(new URL('../../../../../deploy/helm/espalier', import.meta.url));
const HELM = process.env['ESPALIER_HELM'] ?? 'helm';
const withHelm = spawnSync(HELM, ['version']).status === 0 ? it : it.skip;

const folder = mkdtempSync(join(tmpdir(), 'espalier-chart-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Manifest {
  kind: string;
  metadata: { name: string };
}

/**
 * Renders the chart. It reads the manifests as Kubernetes does: yes and 0x1 are values there and not texts.
 *
 * @param values as JSON, which is YAML too
 */
function rendered(values: object = {}, release = 'lab', namespace = 'research'): Manifest[] {
  const file = join(folder, 'values.yaml');
  writeFileSync(file, JSON.stringify(values));
  const text = execFileSync(HELM, ['template', release, CHART, '--namespace', namespace, '--values', file], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return parseAllDocuments(text, { version: '1.1' }).flatMap((document) => (document.toJS() as Manifest | null) ?? []);
}

/** The first field that Kubernetes' own types do not have. */
const unknown = (manifest: object, type: string): string | null =>
  unknownField(JSON.parse(JSON.stringify(manifest).replaceAll('"from":', '"_from":')), type, models); // the library's name of that field

const named = (manifests: Manifest[]): string[] => manifests.map(({ kind, metadata: { name } }) => `${kind} ${name}`).sort();
const setIn = (manifests: Manifest[], name: string): models.V1StatefulSetSpec =>
  (manifests.find(({ kind, metadata }) => kind === 'StatefulSet' && metadata.name === name) as models.V1StatefulSet).spec!;
const serverIn = (manifests: Manifest[], name = 'lab'): models.V1PodSpec => setIn(manifests, name).template.spec!;
/** Reads the file of a server's fleet as that server does. */
function fleetIn(manifests: Manifest[], name = 'lab'): ReturnType<typeof readFleetFile> {
  const map = manifests.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === `${name}-fleet`) as models.V1ConfigMap;
  const file = join(folder, 'fleet.yaml');
  const authority = join(folder, 'ca.crt');
  writeFileSync(authority, '');
  writeFileSync(join(folder, 'pod.yaml'), map.data!['pod.yaml']!);
  writeFileSync(file, map.data!['fleet.yaml']!.replace('/etc/espalier-tls/ca.crt', authority));
  return readFleetFile(file);
}
const optionsOf = (pod: models.V1PodSpec): string[] => pod.containers[0]!.command!.slice(2);

const ALONE = ['NetworkPolicy lab', 'ServiceAccount lab', 'Service lab', 'StatefulSet lab'];
const FULL = {
  image: { tag: '9', pullSecrets: ['registry'] },
  standby: { enabled: true },
  eventStore: { kurrentdb: { enabled: true, storageClassName: 'fast' } },
  artifacts: { location: 's3://bucket/lab', s3Region: 'eu', s3Cache: '50GB', credentialsSecret: 'aws' },
  persistence: { storageClassName: 'fast' },
  fleet: {
    ...{ enabled: true, gpus: 2, image: 'espalier-cuda:9', timeLimitMinutes: 240, idleSeconds: 600, graceSeconds: 90 },
    cache: { persistentVolumeClaim: { claimName: 'cache' } },
    pod: {
      nodeSelector: { gpu: 'a100' },
      tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
      priorityClassName: 'preemptible',
      volumes: [{ name: 'models', persistentVolumeClaim: { claimName: 'models' } }],
    },
    container: { env: [{ name: 'HF_HOME', value: '/data/hf' }], volumeMounts: [{ name: 'models', mountPath: '/models', readOnly: true }] },
    labels: { team: 'pruning' },
    annotations: { 'sidecar.istio.io/inject': 'false' },
  },
  networkPolicy: { clients: [{ namespaceSelector: { matchLabels: { team: 'pruning' } } }], engineEgress: [{ ports: [{ port: 9000 }] }] },
  oidc: { secretName: 'provider' },
  webhooks: { secretName: 'hooks', key: 'all.yaml' },
  dataRoots: ['/models'],
  extraVolumes: [{ name: 'models', persistentVolumeClaim: { claimName: 'models' } }],
  extraVolumeMounts: [{ name: 'models', mountPath: '/models', readOnly: true }],
  extraArgs: ['--runs-per-caller=4'],
  serviceAccount: { annotations: { role: 'bucket' } },
  nodeSelector: { disk: 'ssd' },
  tolerations: [{ key: 'lab', operator: 'Exists' }],
};

withHelm.each<[string, object, string[]]>([
  ['by its defaults', {}, ALONE],
  [
    'with a store elsewhere, and artifacts in a bucket',
    { eventStore: { connectionSecret: 'store' }, artifacts: { location: 's3://b' } },
    ALONE,
  ],
  [
    'with everything',
    FULL,
    [
      ...['ConfigMap lab-fleet', 'ConfigMap lab-standby-fleet', 'NetworkPolicy lab-engines', 'NetworkPolicy lab-kurrentdb'],
      ...['PodDisruptionBudget lab', 'Secret lab-fleet', 'Secret lab-standby-fleet'],
      ...['Role lab-fleet', 'RoleBinding lab-fleet', 'Service lab-kurrentdb', 'Service lab-standby', 'StatefulSet lab-kurrentdb'],
      ...['StatefulSet lab-standby', ...ALONE],
    ],
  ],
])("%s it has the manifests that it should, with the fields of Kubernetes' own types", (_how, values, expected) => {
  const manifests = rendered(values);
  expect(named(manifests)).toEqual(expected.sort());
  for (const manifest of manifests) {
    expect(models).toHaveProperty(`V1${manifest.kind}`);
    expect([manifest.kind, unknown(manifest, `V1${manifest.kind}`)]).toEqual([manifest.kind, null]);
  }
});

withHelm('each volume that a container mounts is there, and each is mounted once', () => {
  for (const values of [{}, { eventStore: { connectionSecret: 'store' } }, FULL]) {
    const { containers, volumes } = serverIn(rendered(values));
    const mounted = containers[0]!.volumeMounts!.map(({ name }) => name);
    expect(mounted.sort()).toEqual(['data', ...volumes!.map(({ name }) => name)].sort());
  }
});

withHelm('secrets come by files and by the environment, not by options', () => {
  const pod = serverIn(
    rendered({ eventStore: { connectionSecret: 'store' }, artifacts: { location: 's3://b', credentialsSecret: 'aws' } }),
  );
  expect(optionsOf(pod)).toEqual(expect.arrayContaining(['--event-store=/etc/espalier-store/url', '--artifacts=s3://b']));
  expect(pod.containers[0]!.envFrom).toEqual([{ secretRef: { name: 'aws' } }]);
  expect(pod.volumes).toContainEqual({ name: 'store', secret: { secretName: 'store', defaultMode: 0o440 } });
});

withHelm('server and standby share the store and the bucket, and the engines of each join it', () => {
  const manifests = rendered(FULL);
  const [server, standby] = [serverIn(manifests), serverIn(manifests, 'lab-standby')];
  expect(optionsOf(standby)).toEqual(optionsOf(server));
  expect(optionsOf(server)).toContain('--event-store=kurrentdb://lab-kurrentdb:2113?tls=false');
  for (const name of ['lab', 'lab-standby'])
    expect(fleetIn(manifests, name)).toMatchObject({ kind: 'kubernetes', name, join: `https://${name}.research.svc:7433` });
});

withHelm('the store may write to its volume: it runs as the user of its image, and the volume belongs to its group', () => {
  const storeWith = (kurrentdb: object): models.V1PodSpec =>
    serverIn(rendered({ eventStore: { kurrentdb: { enabled: true, ...kurrentdb } } }), 'lab-kurrentdb');
  const usual = { runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, fsGroupChangePolicy: 'OnRootMismatch' };
  expect(storeWith({}).securityContext).toMatchObject(usual);
  const ofCluster = { runAsUser: 1000660000, fsGroup: 1000660000 };
  expect(storeWith({ podSecurityContext: ofCluster }).securityContext).toMatchObject({ ...usual, ...ofCluster });
});

withHelm('text stays text, whatever it would mean in YAML', () => {
  const manifests = rendered(
    {
      image: { tag: '1.10', pullSecrets: ['1e3', 'true'] },
      tls: { secretName: '123' },
      eventStore: { connectionSecret: '0x1', connectionKey: '1_0' },
      artifacts: { location: 's3://b/p: x #y', s3Endpoint: 'https://s3: #x', s3Region: '*x', s3Cache: '"50"', credentialsSecret: 'null' },
      persistence: { storage: '100', storageClassName: 'yes' },
      oidc: { secretName: '1', key: '2' },
      webhooks: { secretName: 'off', key: '3' },
      dataRoots: ['/a: b', '/c #d', "/'e' \\ \n"],
      serviceAccount: { annotations: { role: '12' } },
      nodeSelector: { gpu: 'true' },
    },
    'true',
    '123',
  );
  const pod = serverIn(manifests, 'true');
  expect(optionsOf(pod).slice(5)).toEqual([
    ...['--event-store=/etc/espalier-store/1_0', '--artifacts=s3://b/p: x #y', '--s3-endpoint=https://s3: #x', '--s3-region=*x'],
    ...['--s3-cache="50"', '--oidc=/etc/espalier-oidc/2', '--webhooks=/etc/espalier-webhooks/3'],
    ...['--data-root=/a: b', '--data-root=/c #d', "--data-root=/'e' \\ \n"],
  ]);
  expect(pod).toMatchObject({
    serviceAccountName: 'true',
    nodeSelector: { gpu: 'true' },
    imagePullSecrets: [{ name: '1e3' }, { name: 'true' }],
  });
  expect(pod.containers[0]!.envFrom).toEqual([{ secretRef: { name: 'null' } }]);
  expect(pod.volumes!.flatMap(({ secret }) => secret?.secretName ?? [])).toEqual(['123', '0x1', '1', 'off']);
  expect(setIn(manifests, 'true').volumeClaimTemplates![0]!.spec).toMatchObject({
    storageClassName: 'yes',
    resources: { requests: { storage: '100' } },
  });
});

withHelm('a fleet asks for the image and the cards that the values say', () => {
  const fleetWith = (fleet: object, image: object = {}) => fleetIn(rendered({ image, fleet: { enabled: true, ...fleet } }))!.jobs[0];
  expect(fleetWith({ gpus: 'a100:16', image: 'registry:5000/lab/espalier-cuda:9' })).toMatchObject({
    cards: { type: 'a100', count: 16 },
    kubernetes: { image: 'registry:5000/lab/espalier-cuda:9' },
  });
  expect(fleetWith({ gpus: 0 }, { repository: 'lab/espalier', tag: '9' })).toMatchObject({
    cards: null,
    kubernetes: { image: 'lab/espalier:9' },
  });
});

/** The job for an engine, as the server makes it of its fleet's file. */
function engineIn(manifests: Manifest[], name = 'lab'): models.V1Job {
  const { kubernetes: settings, cpus, cards, memoryGb } = fleetIn(manifests, name)!.jobs[0];
  const jobs = {
    mark: { fleetId: 'id', folderId: 'folder', addressId: 'address' },
    specId: 'spec',
    settings: settings!,
    wishes: { cpus, cards, memoryGb },
    commandOf: () => ['espalier', 'engine'],
  };
  return jobManifest(jobs, `${name}-1`);
}

withHelm('an engine gets the node, the time, the Secret and the folders that the values say, in the fields of Kubernetes', () => {
  const job = engineIn(rendered(FULL), 'lab-standby');
  expect(unknown(job, 'V1Job')).toBeNull();
  const { spec, metadata } = job.spec!.template;
  expect(job.spec).toMatchObject({ activeDeadlineSeconds: 240 * 60 });
  expect(metadata).toMatchObject({ labels: { team: 'pruning' }, annotations: { 'sidecar.istio.io/inject': 'false' } });
  expect(spec).toMatchObject({
    ...{ nodeSelector: { gpu: 'a100' }, priorityClassName: 'preemptible', terminationGracePeriodSeconds: 90 },
    imagePullSecrets: [{ name: 'registry' }],
    tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
  });
  expect(spec!.volumes!.map(({ name }) => name)).toEqual(['espalier-cache', 'espalier-tmp', 'models', 'espalier-token']);
  expect(spec!.volumes![0]).toEqual({ name: 'espalier-cache', persistentVolumeClaim: { claimName: 'cache' } });
  expect(spec!.volumes!.at(-1)).toMatchObject({ secret: { secretName: 'lab-standby-fleet' } });
  const [container] = spec!.containers;
  expect(container!.env!.map(({ name }) => name)).toEqual(['HOME', 'HF_HOME']);
  expect(container!.volumeMounts!.map(({ mountPath }) => mountPath)).toEqual(['/data', '/tmp', '/models', '/etc/espalier']);
  expect(fleetIn(rendered(FULL))!.jobs[0]).toMatchObject({ idleSeconds: 600 });
  expect(engineIn(rendered({ fleet: { enabled: true } })).spec!.activeDeadlineSeconds).toBeUndefined();
});

withHelm("each pod satisfies the level restricted of Kubernetes' Pod Security Standards", () => {
  const manifests = rendered(FULL);
  const sets = manifests.filter(({ kind }) => kind === 'StatefulSet') as models.V1StatefulSet[];
  const pods = [...sets.map(({ spec }) => spec!.template.spec!), engineIn(manifests).spec!.template.spec!];
  expect(pods).toHaveLength(4);
  for (const { securityContext, containers, volumes = [], hostNetwork, hostPID, hostIPC } of pods) {
    expect(securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    expect([hostNetwork, hostPID, hostIPC]).toEqual([undefined, undefined, undefined]);
    expect(volumes.filter((volume) => 'hostPath' in volume)).toEqual([]);
    for (const { securityContext: own, resources } of containers) {
      expect(own).toMatchObject({ allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } });
      expect([resources!.requests!['memory'], resources!.limits!['memory']]).toEqual([expect.any(String), expect.any(String)]);
    }
  }
});

withHelm('the server may change the Secrets of its fleets, and no other', () => {
  const { rules } = rendered(FULL).find(({ kind }) => kind === 'Role') as models.V1Role;
  const ofSecrets = rules!.filter(({ resources }) => resources!.includes('secrets'));
  expect(ofSecrets).toEqual([
    { apiGroups: [''], resources: ['secrets'], resourceNames: ['lab-fleet', 'lab-standby-fleet'], verbs: ['patch'] },
  ]);
});

withHelm('the policies name the pods that there are, and without clients all may reach the servers', () => {
  const manifests = rendered(FULL);
  const policy = (name: string, all = manifests): models.V1NetworkPolicySpec =>
    (all.find(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === name) as models.V1NetworkPolicy).spec!;
  const labels = engineIn(manifests).spec!.template.metadata!.labels!;
  expect(labels).toMatchObject(policy('lab-engines').podSelector!.matchLabels!);
  expect(policy('lab-engines').egress!.map(({ ports }) => ports!.map(({ port }) => port))).toEqual([[53, 53], ['grpc'], [443], [9000]]);
  expect(policy('lab').ingress).toHaveLength(2);
  const [open, ...others] = policy('lab', rendered({ fleet: { enabled: true } })).ingress as { from?: unknown }[];
  expect([open!.from, others]).toEqual([undefined, []]);
  expect(named(rendered({ networkPolicy: { enabled: false }, fleet: { enabled: true } })).join()).not.toContain('NetworkPolicy');
});

withHelm('an image may be named by its digest, with a tag or without', () => {
  const digest = `sha256:${'0a'.repeat(32)}`;
  const imageWith = (image: object) => serverIn(rendered({ image: { repository: 'lab/espalier', ...image } })).containers[0]!.image;
  expect(imageWith({ digest })).toBe(`lab/espalier@${digest}`);
  expect(imageWith({ digest, tag: '9' })).toBe(`lab/espalier:9@${digest}`);
});

const A_STANDBY = { standby: { enabled: true }, eventStore: { connectionSecret: 'store' }, artifacts: { location: 's3://b' } };

withHelm.each<[string, object, number]>([
  ['a server', {}, 52],
  ['a standby', A_STANDBY, 44],
  ['a store', { eventStore: { kurrentdb: { enabled: true } }, fleet: { enabled: true } }, 42],
])('with %s the longest name of a release is one with which Kubernetes makes the pods', (_part, values, most) => {
  const longest = rendered(values, 'e'.repeat(most)).filter(({ kind }) => kind === 'StatefulSet');
  expect(Math.max(...longest.map(({ metadata }) => metadata.name.length))).toBe(52);
  expect(() => rendered(values, 'e'.repeat(most + 1))).toThrow(`has ${most + 1} characters: at most ${most} are allowed`);
});

withHelm('a release with a long name has fleets whose names the servers take', () => {
  const release = 'pruning-for-all-of-us-in-the-lab';
  const manifests = rendered({ ...A_STANDBY, fleet: { enabled: true } }, release);
  expect([fleetIn(manifests, release)!.name, fleetIn(manifests, `${release}-standby`)!.name]).toEqual([
    'pruning-for-all-of-u',
    'pruning-for-standby',
  ]);
});

withHelm.each(['123', '1rel', 'my.rel'])('a release that Kubernetes can not name a Service by is refused: %s', (release) => {
  expect(() => rendered({}, release)).toThrow(
    `the name of the release is "${release}", and Services have it too: small letters, digits and`,
  );
});

withHelm.each([
  [{ standby: { enabled: true } }, 'standby.enabled needs an event store'],
  [{ standby: { enabled: true }, eventStore: { connectionSecret: 'a' } }, 'standby.enabled needs artifacts'],
  [{ eventStore: { connectionSecret: 'a', kurrentdb: { enabled: true } } }, 'one is allowed'],
  [{ flet: { enabled: true } }, 'Additional property flet is not allowed'],
  [{ fleet: { enabled: true, maxEngines: 65 } }, 'fleet.maxEngines'],
  [{ artifacts: { location: 'bucket' } }, 'artifacts.location'],
  [{ fleet: { gpus: -1 } }, 'fleet.gpus'],
  [{ fleet: { gpus: 17 } }, 'fleet.gpus'],
  [{ fleet: { gpus: 'a:b:c' } }, 'fleet.gpus'],
  [{ fleet: { image: 'a b' } }, 'fleet.image'],
  [{ fleet: { cpus: 1025 } }, 'fleet.cpus'],
  [{ tls: { secretName: '*x' } }, 'tls.secretName'],
  [{ tls: { secretName: null } }, 'secretName is required'],
  [{ fleet: null }, 'fleet is required'],
  [{ oidc: { secretName: 'provider', key: '../x' } }, 'oidc.key'],
  [{ nodeSelector: { gpu: true } }, 'nodeSelector.gpu'],
  [{ fleet: { timeLimitMinutes: -1 } }, 'fleet.timeLimitMinutes'],
  [{ fleet: { graceSeconds: 0 } }, 'fleet.graceSeconds'],
  [{ fleet: { pod: [] } }, 'fleet.pod'],
  [{ extraArgs: ['--tls-client-ca=/x'] }, 'extraArgs has --tls-client-ca'],
  [{ eventStore: { kurrentdb: { podSecurityContext: { fsGroup: 'kurrent' } } } }, 'podSecurityContext.fsGroup'],
  [{ image: { digest: 'sha256:abc' } }, 'image.digest'],
  [{ image: { tag: 'sha256:abc' } }, 'A digest is image.digest'],
  [{ image: { repository: 'x@sha256:abc' } }, 'Those are image.tag and image.digest'],
  [{ image: { repository: 'x:5' } }, 'Those are image.tag and image.digest'],
])('values that no server could work with are refused: %j', (values, why) => {
  expect(() => rendered(values)).toThrow(why);
});

withHelm('helm finds nothing wrong with it', () => {
  expect(execFileSync(HELM, ['lint', '--strict', CHART], { encoding: 'utf8' })).toContain('0 chart(s) failed');
});
