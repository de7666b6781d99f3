// Renders the chart of deploy/helm by helm itself, and holds it to Kubernetes' own types and to what the server reads. Without helm on this
// machine nothing can be rendered, and these tests are skipped (.ci/run fetches helm).
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as models from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import { readFleetFile } from './fleet-file.js';
import { unknownField } from './kubernetes-fields.js';

const CHART = fileURLToPath(new URL('../../../../../deploy/helm/espalier', import.meta.url));
const HELM = process.env['ESPALIER_HELM'] ?? 'helm';
const withHelm = spawnSync(HELM, ['version']).status === 0 ? it : it.skip;

const folder = mkdtempSync(join(tmpdir(), 'espalier-chart-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Manifest {
  kind: string;
  metadata: { name: string };
}

/** @param values as JSON, which is YAML too */
function rendered(values: object = {}): Manifest[] {
  const file = join(folder, 'values.yaml');
  writeFileSync(file, JSON.stringify(values));
  const text = execFileSync(HELM, ['template', 'lab', CHART, '--namespace', 'research', '--values', file], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return parseAllDocuments(text).flatMap((document) => (document.toJS() as Manifest | null) ?? []);
}

const named = (manifests: Manifest[]): string[] => manifests.map(({ kind, metadata: { name } }) => `${kind} ${name}`).sort();
const serverIn = (manifests: Manifest[], name = 'lab'): models.V1PodSpec =>
  (manifests.find(({ kind, metadata }) => kind === 'StatefulSet' && metadata.name === name) as models.V1StatefulSet).spec!.template.spec!;
const optionsOf = (pod: models.V1PodSpec): string[] => pod.containers[0]!.command!.slice(2);

const ALONE = ['ServiceAccount lab', 'Service lab', 'StatefulSet lab'];
const FULL = {
  image: { tag: '9', pullSecrets: ['registry'] },
  standby: { enabled: true },
  eventStore: { kurrentdb: { enabled: true, storageClassName: 'fast' } },
  artifacts: { location: 's3://bucket/lab', s3Region: 'eu', s3Cache: '50GB', credentialsSecret: 'aws' },
  persistence: { storageClassName: 'fast' },
  fleet: { enabled: true, gpus: 2, image: 'espalier-cuda:9' },
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
      ...['ConfigMap lab-fleet', 'ConfigMap lab-standby-fleet', 'NetworkPolicy lab-kurrentdb', 'PodDisruptionBudget lab'],
      ...['Role lab-fleet', 'RoleBinding lab-fleet', 'Service lab-kurrentdb', 'Service lab-standby', 'StatefulSet lab-kurrentdb'],
      ...['StatefulSet lab-standby', ...ALONE],
    ],
  ],
])("%s it has the manifests that it should, with the fields of Kubernetes' own types", (_how, values, expected) => {
  const manifests = rendered(values);
  expect(named(manifests)).toEqual(expected.sort());
  for (const manifest of manifests) {
    expect(models).toHaveProperty(`V1${manifest.kind}`);
    const inItsWords: unknown = JSON.parse(JSON.stringify(manifest).replaceAll('"from":', '"_from":')); // the library's name of that field
    expect([manifest.kind, unknownField(inItsWords, `V1${manifest.kind}`, models)]).toEqual([manifest.kind, null]);
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
  for (const name of ['lab', 'lab-standby']) {
    const map = manifests.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === `${name}-fleet`) as models.V1ConfigMap;
    const file = join(folder, 'fleet.yaml');
    const authority = join(folder, 'ca.crt');
    writeFileSync(authority, '');
    writeFileSync(file, map.data!['fleet.yaml']!.replace('/etc/espalier-tls/ca.crt', authority));
    expect(readFleetFile(file)).toMatchObject({ kind: 'kubernetes', name, join: `https://${name}.research.svc:7433` });
  }
});

withHelm('the store may write to its volume: it runs as the user of its image, and the volume belongs to its group', () => {
  const storeWith = (kurrentdb: object): models.V1PodSpec =>
    serverIn(rendered({ eventStore: { kurrentdb: { enabled: true, ...kurrentdb } } }), 'lab-kurrentdb');
  const usual = { runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, fsGroupChangePolicy: 'OnRootMismatch' };
  expect(storeWith({}).securityContext).toMatchObject(usual);
  const ofCluster = { runAsUser: 1000660000, fsGroup: 1000660000 };
  expect(storeWith({ podSecurityContext: ofCluster }).securityContext).toMatchObject({ ...usual, ...ofCluster });
});

withHelm.each([
  [{ standby: { enabled: true } }, 'standby.enabled needs an event store'],
  [{ standby: { enabled: true }, eventStore: { connectionSecret: 'a' } }, 'standby.enabled needs artifacts'],
  [{ eventStore: { connectionSecret: 'a', kurrentdb: { enabled: true } } }, 'one is allowed'],
  [{ flet: { enabled: true } }, 'Additional property flet is not allowed'],
  [{ fleet: { enabled: true, maxEngines: 65 } }, 'fleet.maxEngines'],
  [{ artifacts: { location: 'bucket' } }, 'artifacts.location'],
  [{ eventStore: { kurrentdb: { podSecurityContext: { fsGroup: 'kurrent' } } } }, 'podSecurityContext.fsGroup'],
])('values that no server could work with are refused: %j', (values, why) => {
  expect(() => rendered(values)).toThrow(why);
});

withHelm('helm finds nothing wrong with it', () => {
  expect(execFileSync(HELM, ['lint', '--strict', CHART], { encoding: 'utf8' })).toContain('0 chart(s) failed');
});
