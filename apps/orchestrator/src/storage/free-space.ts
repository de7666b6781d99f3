import { statfs } from 'node:fs/promises';
import type { OrchestratorConfig } from '../config.js';

/** The free bytes that a user without special rights can write, or undefined where the file system does not tell. */
export async function availableBytes(folder: string): Promise<bigint | undefined> {
  const found = await statfs(folder, { bigint: true }).catch(() => null);
  return found === null ? undefined : found.bavail * found.bsize;
}

/** The free bytes for artifacts. Undefined for a bucket, which tells no limit, and where the file system does not tell. */
export async function roomForArtifacts({ bucket, artifactFolder }: Pick<OrchestratorConfig, 'bucket' | 'artifactFolder'>) {
  return bucket === undefined ? availableBytes(artifactFolder) : undefined;
}
