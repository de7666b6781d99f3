// Reports events that a server's event store has lost, and a bucket that does not answer.
import type { v1 } from '#protocol';
import type { Connection } from '../../connection/connection.js';

const MISSING_HINT =
  'nothing is thrown away meanwhile; put the right store back, or accept this one with: espalier down, espalier up --accept-store';

/** The condition of a server's stores, in words. */
export interface StoreState {
  /** Null: no event is missing. */
  missing: string | null;
  /** The folder or the bucket. */
  artifacts: string;
  /** Null: artifacts can be read and written. */
  artifactProblem: string | null;
}

export async function storeState(connection: Connection, timeoutMs?: number): Promise<StoreState> {
  const { history } = connection;
  const found: v1.GetStoreConditionResponse = await connection.call(history, history.getStoreCondition, {}, timeoutMs);
  const { missingEvents, artifacts, artifactTrouble } = found;
  return {
    missing: missingEvents === undefined ? null : `${missingEvents.message}; ${MISSING_HINT}`,
    artifacts,
    artifactProblem:
      artifactTrouble === undefined ? null : `${artifactTrouble.code}: ${artifactTrouble.message}; runs wait, and go on by themselves`,
  };
}

/** Returns one line for each problem. */
export async function storeProblems(connection: Connection): Promise<string[]> {
  const { missing, artifactProblem } = await storeState(connection);
  return [missing, artifactProblem].filter((problem) => problem !== null);
}
