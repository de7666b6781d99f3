// The file that a target in seconds goes by, as a request names it.
import { resolve } from 'node:path';
import { readUserFile } from '#files';
import { invalidField } from '#protocol';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import { NO_TABLE, type ReadTable } from '../pruning-run/method/budget.js';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { requireTableOf, speedTableOf } from './speed-table-file.js';

const TABLE_BYTES_MAX = 4 * 2 ** 20;

/** @throws EspalierError with the place in the table that is wrong */
export async function readTable(
  { targetSpeedup = 0, speedTable = NO_TABLE }: RequestedSettings,
  shape: ModelShape,
): Promise<(ReadTable & { bytes: Uint8Array }) | null> {
  if (targetSpeedup === 0 || speedTable === NO_TABLE) return null;
  const bytes = await readUserFile(resolve(speedTable), TABLE_BYTES_MAX).catch((error: unknown) => {
    throw invalidField('SPEED_TABLE_INVALID', 'settings.speed_table', (error as Error).message);
  });
  const table = speedTableOf(bytes.toString('utf8'));
  requireTableOf(table, shape);
  return { bytes, table, digest: sha256Hex(bytes) };
}
