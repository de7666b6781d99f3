// Finds problems that keep the engines of a server from working well.
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1 } from '#protocol';
import type { Connection } from '../../connection/connection.js';

/** The number of tries for an engine that does not answer at once. */
const TRIES = 20;
const TRY_MS = 150;

/** Returns one line for each problem. @param cores the cores of the machine on which the local engines run */
export function problemsOf(engines: readonly v1.Engine[], cores: number): string[] {
  const local = engines.filter((engine) => engine.local);
  const threads = local.reduce((sum, engine) => sum + engine.threads, 0);
  const tooMany =
    threads > cores
      ? [`${local.length} engines with ${local[0]?.threads} threads each are more than the ${cores} cores: they slow each other down`]
      : [];
  const { ENGINE_STATUS_UNREACHABLE, ENGINE_STATUS_ATTACHED_ELSEWHERE } = v1.EngineStatus;
  const unusable = engines.filter(({ status }) => status === ENGINE_STATUS_UNREACHABLE || status === ENGINE_STATUS_ATTACHED_ELSEWHERE);
  const why = ({ problem }: v1.Engine): string => problem?.message ?? 'it does not answer';
  return [...tooMany, ...unusable.map((engine) => `engine ${engine.name} can't be used now: ${why(engine)}`)];
}

/** Waits until each engine that was given by its address has been tried once, and returns the problems. */
export async function engineProblems(connection: Connection): Promise<string[]> {
  for (let tries = 1; ; tries += 1) {
    const { engines } = await connection.call(connection.engines, connection.engines.listEngines, {});
    const isTried = engines.every(({ local, status }) => local || status !== v1.EngineStatus.ENGINE_STATUS_STARTING);
    if (isTried || tries === TRIES) return problemsOf(engines, availableParallelism());
    await sleep(TRY_MS);
  }
}
