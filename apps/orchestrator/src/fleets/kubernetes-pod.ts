// The manifests of a fleet of a Kubernetes cluster: a Job for each engine, and the Secret from which its pod reads the token.
import type { V1Job, V1PodSpec, V1PodTemplateSpec, V1Secret } from '@kubernetes/client-node';
import type { JobKind, KubernetesSettings, PodTemplate } from './fleet-settings.js';
import type { JobMark } from './job-mark.js';

/** The paths at which the pods find the files of the Secret. */
export const POD_FILES = { folder: '/etc/espalier', token: '/etc/espalier/token', authority: '/etc/espalier/authority.pem' };
/** The labels of a fleet's job and of its pod. */
export const LABELS = { fleet: 'espalier/fleet', engine: 'espalier/engine', folder: 'espalier/folder', address: 'espalier/address' };
/** The annotation with the digest of all settings that the job was asked for with. */
export const SETTINGS_ANNOTATION = 'espalier/settings';
/** The cluster removes a job this time after its end. */
const KEPT_SECONDS = 3_600;
const SECRET_VOLUME = 'espalier-token';

/** The settings with which a job of one kind is asked for. */
export interface KubernetesJob {
  mark: JobMark;
  /** The digest of all settings in the request for a job. */
  specId: string;
  settings: KubernetesSettings;
  wishes: Pick<JobKind, 'cpus' | 'cards' | 'memoryGb'>;
  commandOf: (engine: string) => string[];
}

interface Resources {
  requests?: Record<string, string>;
  limits?: Record<string, string>;
}

export const jobName = (engine: string): string => `espalier-${engine}`;
export const secretName = ({ mark, settings }: Pick<KubernetesJob, 'mark' | 'settings'>): string =>
  settings.secret ?? `espalier-fleet-${mark.fleetId}`;

export function jobManifest(job: KubernetesJob, engine: string): V1Job {
  const { mark, specId, settings } = job;
  const labels = labelsOf(mark, engine);
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: jobName(engine), labels, annotations: { [SETTINGS_ANNOTATION]: specId } },
    spec: {
      // A pod that the cluster starts again would be an engine that no run asked for.
      backoffLimit: 0,
      completions: 1,
      parallelism: 1,
      podReplacementPolicy: 'Failed',
      ttlSecondsAfterFinished: KEPT_SECONDS,
      ...(settings.timeLimitMinutes === null ? {} : { activeDeadlineSeconds: settings.timeLimitMinutes * 60 }),
      template: podOf(job, engine, labels),
    },
  };
}

export function secretManifest(job: Pick<KubernetesJob, 'mark' | 'settings'>, files: Record<string, string>): V1Secret {
  const labels = { 'app.kubernetes.io/managed-by': 'espalier', [LABELS.fleet]: job.mark.fleetId };
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name: secretName(job), labels }, type: 'Opaque', stringData: files };
}

function podOf(job: KubernetesJob, engine: string, labels: Record<string, string>): V1PodTemplateSpec {
  const { settings, wishes, commandOf } = job;
  const { metadata = {}, spec = {} }: PodTemplate = settings.podTemplate;
  const [container = {}] = spec.containers ?? [];
  const mounts = (container['volumeMounts'] as object[] | undefined) ?? [];
  const pod = {
    // The pod of an engine needs no access to the cluster, unless its template asks for it.
    automountServiceAccountToken: false,
    ...spec,
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: settings.graceSeconds,
    volumes: [...(spec.volumes ?? []), { name: SECRET_VOLUME, secret: { secretName: secretName(job), defaultMode: 0o440 } }],
    containers: [
      {
        ...container,
        name: 'engine',
        image: settings.image,
        command: commandOf(engine),
        // The last lines of the engine's output then stand in the state of its pod, where the fleet reads them.
        terminationMessagePolicy: 'FallbackToLogsOnError',
        resources: resourcesOf(wishes, container['resources'] as Resources | undefined),
        volumeMounts: [...mounts, { name: SECRET_VOLUME, mountPath: POD_FILES.folder, readOnly: true }],
      },
    ],
  };
  return { metadata: { ...metadata, labels: { ...metadata.labels, ...labels } }, spec: pod as unknown as V1PodSpec };
}

/** The requests equal the limits, so that no other pod takes processors or memory from a training that has begun. */
function resourcesOf({ cpus, cards, memoryGb }: KubernetesJob['wishes'], given: Resources | undefined): Resources {
  const own = {
    cpu: String(cpus),
    ...(memoryGb === null ? {} : { memory: `${memoryGb}Gi` }),
    ...(cards === null ? {} : { [cards.type ?? 'nvidia.com/gpu']: String(cards.count) }),
  };
  return { ...given, requests: { ...given?.requests, ...own }, limits: { ...given?.limits, ...own } };
}

function labelsOf({ fleetId, folderId, addressId }: JobMark, engine: string): Record<string, string> {
  return {
    'app.kubernetes.io/name': 'espalier-engine',
    'app.kubernetes.io/managed-by': 'espalier',
    [LABELS.fleet]: fleetId,
    [LABELS.engine]: engine,
    [LABELS.folder]: folderId,
    [LABELS.address]: addressId,
  };
}
