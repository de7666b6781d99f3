import { stat } from 'node:fs/promises';
import type { OrchestratorConfig } from '../config.js';

/** Returns a folder on each disk that the server writes to, by the disk's name. Both folders may be on one disk. */
export async function disksOf({
  dataFolder,
  artifactFolder,
}: Pick<OrchestratorConfig, 'dataFolder' | 'artifactFolder'>): Promise<Map<string, string>> {
  const [data, artifacts] = await Promise.all([stat(dataFolder), stat(artifactFolder).catch(() => null)]);
  const found = new Map([['data', dataFolder]]);
  if (artifacts !== null && artifacts.dev !== data.dev) found.set('artifacts', artifactFolder);
  return found;
}
