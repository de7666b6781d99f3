// Events that a server's event store has lost.
import type { v1 } from '#protocol';
import type { Connection } from '../../connection/connection.js';

export const MISSING_HINT =
  'nothing is thrown away meanwhile; put the right store back, or accept this one with: espalier down, espalier up --accept-store';

/** One line a problem. */
export async function storeProblems(connection: Connection, timeoutMs?: number): Promise<string[]> {
  const { history } = connection;
  const { missingEvents }: v1.GetStoreConditionResponse = await connection.call(history, history.getStoreCondition, {}, timeoutMs);
  return missingEvents === undefined ? [] : [`${missingEvents.message}; ${MISSING_HINT}`];
}
