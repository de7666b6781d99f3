import { stat } from 'node:fs/promises';
import type { OrchestratorConfig } from '../config.js';

/** A folder on each disk that the server writes to, by its name. Both folders may lie on one disk. */
export async function disksOf({
  dataFolder,
  artifactFolder,
}: Pick<OrchestratorConfig, 'dataFolder' | 'artifactFolder'>): Promise<Map<string, string>> {
  const [data, artifacts] = await Promise.all([stat(dataFolder), stat(artifactFolder).catch(() => null)]);
  const found = new Map([['data', dataFolder]]);
  if (artifacts !== null && artifacts.dev !== data.dev) found.set('artifacts', artifactFolder);
  return found;
}
