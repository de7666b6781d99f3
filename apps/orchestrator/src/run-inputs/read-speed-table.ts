// Reads the speed table of a target in seconds, as a request names it: by a file, or by the digest of a stored table.
import { resolve } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import { readUserFile } from '#files';
import { invalidField, namesTableFile, NO_TABLE } from '#protocol';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import type { ReadTable } from '../pruning-run/method/budget.js';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { requireTableOf, speedTableOf } from './speed-table-file.js';

const TABLE_BYTES_MAX = 4 * 2 ** 20;

type KeptTables = Pick<ArtifactStore, 'stat' | 'get'>;

/** @throws EspalierError with the place in the table that is wrong */
export async function readTable(
  { targetSpeedup = 0, speedTable = NO_TABLE }: RequestedSettings,
  shape: ModelShape,
  artifacts: KeptTables,
): Promise<(ReadTable & { bytes: Uint8Array }) | null> {
  if (targetSpeedup === 0 || speedTable === NO_TABLE) return null;
  const bytes = namesTableFile(speedTable) ? await tableOfFile(resolve(speedTable)) : await keptTable(speedTable, artifacts);
  const table = speedTableOf(Buffer.from(bytes).toString('utf8'));
  requireTableOf(table, shape);
  return { bytes, table, digest: sha256Hex(bytes) };
}

const invalid = (description: string): Error => invalidField('SPEED_TABLE_INVALID', 'settings.speed_table', description);

function tableOfFile(path: string): Promise<Uint8Array> {
  return readUserFile(path, TABLE_BYTES_MAX).catch((error: unknown) => {
    throw invalid((error as Error).message);
  });
}

async function keptTable(digest: string, artifacts: KeptTables): Promise<Uint8Array> {
  const kept = await artifacts.stat(digest);
  if (kept === null)
    throw invalid(`the server keeps no table with the digest ${digest}: \`espalier gc\` removes those that belong to no run`);
  if (kept.bytes > TABLE_BYTES_MAX) throw invalid(`${digest} is no speed table: it has ${kept.bytes} bytes`);
  return artifacts.get(digest);
}
