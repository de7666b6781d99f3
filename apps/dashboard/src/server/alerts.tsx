// The bar of alerts on every page: conditions that need a person's attention. Nothing where all is well.
import { useEffect } from 'preact/hooks';
import { engineService, historyService, runService } from '../api/client.js';
import { useLoaded } from '../api/loaded.js';
import { RunStatus } from '../generated/espalier/v1/common_pb.js';
import { Anchor } from '../ui/router.js';
import { alertsOf, type Alert } from './server-words.js';

const LOOK_AGAIN_MS = 30_000;

async function look(signal: AbortSignal): Promise<Alert[]> {
  const [engines, condition, damaged] = await Promise.allSettled([
    engineService.listEngines({}, { signal }),
    historyService.getStoreCondition({}, { signal }),
    runService.listRuns({ statuses: [RunStatus.DAMAGED], pageSize: 1 }, { signal }),
  ]);
  const valueOf = <T,>(outcome: PromiseSettledResult<T>): T | undefined => (outcome.status === 'fulfilled' ? outcome.value : undefined);
  return alertsOf({
    engines: valueOf(engines)?.engines,
    missing: valueOf(condition)?.missingEvents?.message,
    availableBytes: valueOf(condition)?.availableBytes,
    damagedRuns: valueOf(damaged)?.total,
  });
}

export function Alerts() {
  const { data: alerts, reload } = useLoaded('alerts', look);
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && reload(), LOOK_AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  if (alerts === undefined || alerts.length === 0) return null;
  return (
    <aside class="alerts" aria-label="Alerts">
      {alerts.map(({ words, to }) => (
        <p key={words}>
          <span class="dot wait" /> {words}. <Anchor to={to}>Look</Anchor>
        </p>
      ))}
    </aside>
  );
}
