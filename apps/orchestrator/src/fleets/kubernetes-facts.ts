// Reads from a cluster's lists of jobs and pods how far the jobs of a fleet are. All functions are pure.
import type { V1Job, V1Pod } from '@kubernetes/client-node';
import type { JobFact, JobFinder } from './job-host.js';
import { plainLine } from './job-logs.js';
import { ownerOf, type JobMark, type JobOwner } from './job-mark.js';
import { LABELS, SETTINGS_ANNOTATION } from './kubernetes-pod.js';

const REASON_CHARACTERS_MAX = 200;

export function jobFacts(jobs: readonly V1Job[], pods: readonly V1Pod[], finder: JobFinder): JobFact[] {
  const podsOf = new Map<string, V1Pod>();
  for (const pod of pods) {
    const engine = pod.metadata?.labels?.[LABELS.engine];
    if (engine === undefined) continue;
    const known = podsOf.get(engine);
    if (known === undefined || createdAt(pod) > createdAt(known)) podsOf.set(engine, pod);
  }
  const facts = jobs.flatMap((job) => factOf(job, podsOf, finder));
  const listed = new Set(facts.map(({ engine }) => engine));
  // A deleted job disappears at once, but its pod still has its grace period.
  const left = [...podsOf].filter(([engine, pod]) => !listed.has(engine) && !isOver(pod));
  return [...facts, ...left.flatMap(([engine, pod]) => ending(engine, pod, finder.mark))];
}

function ownerBy(labels: Record<string, string> | undefined, mark: JobMark): JobOwner {
  return ownerOf(mark, { fleetId: labels?.[LABELS.fleet], folderId: labels?.[LABELS.folder], addressId: labels?.[LABELS.address] });
}

function factOf({ metadata, status, spec }: V1Job, pods: ReadonlyMap<string, V1Pod>, { mark, specIdOf }: JobFinder): JobFact[] {
  const engine = metadata?.labels?.[LABELS.engine];
  const owner = ownerBy(metadata?.labels, mark);
  if (engine === undefined || metadata?.name === undefined || owner === 'elsewhere') return [];
  const pod = pods.get(engine);
  const fact = {
    ...{ id: metadata.name, engine, node: pod?.spec?.nodeName ?? '', owner, account: '' },
    isOutdated: metadata.annotations?.[SETTINGS_ANNOTATION] !== specIdOf(engine),
  };
  const end = status?.conditions?.find(({ type, status: is }) => is === 'True' && ['Complete', 'Failed'].includes(type));
  if (end !== undefined) return [{ ...fact, stage: 'over', state: end.type, reason: endReason(pod) || words(end.reason) }];
  if (metadata.deletionTimestamp !== undefined) return [{ ...fact, stage: 'ending', state: 'Deleted', reason: '' }];
  if (pod === undefined)
    return [{ ...fact, stage: 'waiting', state: 'Pending', reason: spec?.suspend === true ? 'Suspended' : 'no pod yet' }];
  // The end of the job follows in a moment.
  if (isOver(pod)) return [{ ...fact, stage: 'ending', state: pod.status?.phase ?? 'Ended', reason: endReason(pod) }];
  if (pod.status?.phase === 'Running')
    return [{ ...fact, stage: 'running', state: 'Running', reason: pod.metadata?.deletionTimestamp === undefined ? '' : 'Terminating' }];
  return [{ ...fact, stage: 'waiting', state: pod.status?.phase ?? 'Pending', reason: waitReason(pod) }];
}

function ending(engine: string, pod: V1Pod, mark: JobMark): JobFact[] {
  const owner = ownerBy(pod.metadata?.labels, mark);
  if (owner === 'elsewhere') return [];
  const id = pod.metadata?.labels?.['batch.kubernetes.io/job-name'] ?? pod.metadata?.name ?? '';
  const node = pod.spec?.nodeName ?? '';
  return [{ id, engine, stage: 'ending', state: 'Terminating', reason: '', node, isOutdated: false, owner, account: '' }];
}

/** The reason why a pod does not run, such as no node with room for it, or an image that can't be loaded. */
function waitReason({ status }: V1Pod): string {
  const scheduled = status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False') return words(scheduled.reason, scheduled.message);
  const container = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])].find(({ state }) => state?.waiting);
  return words(container?.state?.waiting?.reason, container?.state?.waiting?.message);
}

/** The reason why a pod has ended, or '' where it ended as it should. */
function endReason(pod: V1Pod | undefined): string {
  if (pod?.status?.reason !== undefined) return words(pod.status.reason, pod.status.message);
  const ends = [...(pod?.status?.initContainerStatuses ?? []), ...(pod?.status?.containerStatuses ?? [])];
  const end = ends.map(({ state }) => state?.terminated).find((one) => one !== undefined && one.exitCode !== 0);
  if (end === undefined) return '';
  // The message may be the last lines of the output.
  const lastLine = plainLine(end.message?.trimEnd().split('\n').at(-1) ?? '');
  return words(end.reason === undefined || end.reason === 'Error' ? `exit code ${end.exitCode}` : end.reason, lastLine);
}

function isOver({ status }: V1Pod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}

function words(reason: string | undefined, message?: string): string {
  const all = [reason, message].filter(Boolean).join(': ').replaceAll(/\s+/g, ' ').trim();
  return all.length > REASON_CHARACTERS_MAX ? `${all.slice(0, REASON_CHARACTERS_MAX - 3)}...` : all;
}

function createdAt({ metadata }: V1Pod): number {
  return metadata?.creationTimestamp?.getTime() ?? 0;
}
