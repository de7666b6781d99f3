// Reads the speed table of a target in seconds, as a request names it: by a file, or by the digest of a stored table.
import { resolve } from 'node:path';
import type { ArtifactStore } from '#artifact-store';
import { readUserFile } from '#files';
import { EspalierError, invalidField, namesTableFile, NO_TABLE } from '#protocol';
import { sha256Hex } from '../event-sourcing/canonical-json.js';
import { digestStartingWith } from '../pruning-run/aggregate/short-digests.js';
import type { ReadTable } from '../pruning-run/method/budget.js';
import type { ModelShape } from '../pruning-run/method/model-cost.js';
import type { RequestedSettings } from '../pruning-run/method/run-settings.js';
import { requireTableOf, speedTableOf } from './speed-table-file.js';

export const TABLE_BYTES_MAX = 4 * 2 ** 20;

type KeptTables = Pick<ArtifactStore, 'stat' | 'get' | 'digestsStartingWith'>;

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

const FIELD = 'settings.speed_table';
const invalid = (description: string): Error => invalidField('SPEED_TABLE_INVALID', FIELD, description);

function tableOfFile(path: string): Promise<Uint8Array> {
  return readUserFile(path, TABLE_BYTES_MAX).catch((error: unknown) => {
    throw invalid((error as Error).message);
  });
}

/** @param named the digest, or its first digits */
async function keptTable(named: string, artifacts: KeptTables): Promise<Uint8Array> {
  const digest = digestStartingWith(named, await artifacts.digestsStartingWith(named), FIELD);
  const kept = digest === undefined ? null : await artifacts.stat(digest);
  if (digest === undefined || kept === null) {
    const mayBe = `\`espalier gc\` removes those that belong to no run; a file is ./${named}`;
    const description = `the server keeps no table with the digest ${named}: ${mayBe}`;
    throw new EspalierError('ARTIFACT_NOT_FOUND', description, { violations: [{ field: FIELD, description, code: 'ARTIFACT_NOT_FOUND' }] });
  }
  if (kept.bytes > TABLE_BYTES_MAX) throw invalid(`${digest} is not a speed table: it has ${kept.bytes} bytes`);
  return artifacts.get(digest);
}
