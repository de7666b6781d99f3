// The bar of alerts on every page. It shows conditions that need a person's attention, and nothing where all is well.
import { engineService, historyService, runService } from '../api/client.js';
import { useLoaded, useRepeated } from '../api/loaded-data.js';
import { isOutdated } from '../api/outdated-page.js';
import { RunStatus } from '../generated/espalier/v1/common_pb.js';
import type { Run } from '../generated/espalier/v1/run_service_pb.js';
import { missedTarget, standingOf } from '../ui/format.js';
import { Anchor } from '../ui/router.js';
import { runAlerts, type EndedRun } from './run-alerts.js';
import { alertsOf, type Alert } from './server-words.js';

const LOOK_AGAIN_MS = 30_000;
/** The number of runs of each kind that are looked at, because a study that ends may end several runs. */
const MOST_RUNS = 20;

const MOST_REMEMBERED = 500;
const KEY = 'espalier.seen';

const OUTDATED: Alert = { words: 'The server was updated since this page was loaded', to: '' };

async function look(signal: AbortSignal): Promise<Alert[]> {
  const runs = async (statuses: RunStatus[]) =>
    (await runService.listRuns({ statuses, orderBy: 'updated_at desc', pageSize: MOST_RUNS }, { signal })).runs;
  const [outdated, engines, condition, damaged, failed, completed] = await Promise.allSettled([
    isOutdated(signal),
    engineService.listEngines({}, { signal }),
    historyService.getStoreCondition({}, { signal }),
    runService.listRuns({ statuses: [RunStatus.DAMAGED], pageSize: 1 }, { signal }),
    runs([RunStatus.FAILED]),
    runs([RunStatus.COMPLETED]),
  ]);
  const valueOf = <T,>(outcome: PromiseSettledResult<T>): T | undefined => (outcome.status === 'fulfilled' ? outcome.value : undefined);
  const missed = (valueOf(completed) ?? []).filter((run) => missedTarget(standingOf(run)));
  return [
    ...(valueOf(outdated) === true ? [OUTDATED] : []),
    ...alertsOf({
      engines: valueOf(engines)?.engines,
      missing: valueOf(condition)?.missingEvents?.message,
      artifactTrouble: valueOf(condition)?.artifactTrouble?.message,
      availableBytes: valueOf(condition)?.availableBytes,
      damagedRuns: valueOf(damaged)?.total,
    }),
    ...runAlerts((valueOf(failed) ?? []).map(ended), missed.map(ended), seenRuns()),
  ];
}

const ended = ({ runId, name, status, endedAt, hardSparsity, settings, failure }: Run): EndedRun => ({
  runId,
  name,
  status,
  endedAt,
  hardSparsity,
  targetSparsity: settings?.targetSparsity ?? 0,
  failure: failure?.message,
});

export function Alerts() {
  const { data: alerts, reload } = useLoaded('alerts', look);
  useRepeated(reload, LOOK_AGAIN_MS);
  if (alerts === undefined || alerts.length === 0) return null;
  const dismiss = (runs: readonly string[]): void => {
    rememberSeen(runs);
    reload();
  };
  return (
    <aside class="alerts" aria-label="Alerts">
      {alerts.map(({ words, to, runs }) => (
        <p key={words}>
          <span class="dot wait" /> <span>{words}.</span>{' '}
          {to === '' ? (
            <button class="plain" onClick={() => location.reload()}>
              Reload
            </button>
          ) : (
            <Anchor to={to}>Look</Anchor>
          )}
          {runs !== undefined && (
            <button class="plain" onClick={() => dismiss(runs)}>
              Dismiss
            </button>
          )}
        </p>
      ))}
    </aside>
  );
}

function seenRuns(): string[] {
  try {
    const known = JSON.parse(localStorage.getItem(KEY) ?? '[]') as unknown;
    return Array.isArray(known) ? known.filter((one) => typeof one === 'string') : [];
  } catch {
    return [];
  }
}

function rememberSeen(runs: readonly string[]): void {
  localStorage.setItem(KEY, JSON.stringify([...new Set([...seenRuns(), ...runs])].slice(-MOST_REMEMBERED)));
}
