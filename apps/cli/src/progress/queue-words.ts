// Says what a queued run waits for: the engines, which are busy, and the runs whose turn is earlier.
import { v1 } from '#protocol';
import type { Connection } from '../connection/connection.js';
import { howMany } from '../output/format.js';
import { listedRuns } from '../options/run-filter.js';

const SHOWN_ENGINES = 3;
const MOST_COUNTED = 100;
const FREE_ENGINE = 'an engine that is free';

/** Tells whether a run waits for nothing but its turn. */
export const isQueued = ({ status, waitingFor }: v1.Run): boolean => status === v1.RunStatus.RUN_STATUS_QUEUED && waitingFor === undefined;

/** Returns a text like "an engine that is free: local-1 works for run k3f9xkq2; 2 queued runs launched earlier". */
export async function queueWords(connection: Connection, run: v1.Run): Promise<string> {
  try {
    const [{ engines }, { runs }] = await Promise.all([
      connection.call(connection.engines, connection.engines.listEngines, {}),
      listedRuns(connection, { statuses: [v1.RunStatus.RUN_STATUS_QUEUED], orderBy: 'launched_at' }, MOST_COUNTED),
    ]);
    const earlier = runs.filter((one) => one.runId !== run.runId && isQueued(one) && launchTime(one) < launchTime(run)).length;
    const before =
      earlier === 0 ? '' : `; ${earlier === MOST_COUNTED ? 'at least ' : ''}${howMany(earlier, 'queued run')} launched earlier`;
    return `${FREE_ENGINE}${busyWords(engines, run)}${before}`;
  } catch {
    return FREE_ENGINE; // the caller may not list engines, or the server is gone, which its next message says
  }
}

const launchTime = ({ launchedAt }: v1.Run): number => launchedAt?.getTime() ?? 0;

function busyWords(engines: readonly v1.Engine[], { runId }: v1.Run): string {
  const busy = engines.filter((engine) => engine.runId !== '' && engine.runId !== runId);
  const words = busy.slice(0, SHOWN_ENGINES).map(({ name, runId: other }) => `${name} works for run ${other}`);
  const more = busy.length - words.length;
  if (more > 0) words.push(`${howMany(more, 'engine')} more for others`);
  return words.length === 0 ? '' : `: ${words.join(', ')}`;
}
