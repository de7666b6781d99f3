import { statfs } from 'node:fs/promises';
import type { OrchestratorConfig } from '../config.js';

/** The bytes that a user without special rights can write. undefined: the file system does not say. */
export async function availableBytes(folder: string): Promise<bigint | undefined> {
  const found = await statfs(folder, { bigint: true }).catch(() => null);
  return found === null ? undefined : found.bavail * found.bsize;
}

/** undefined: a bucket, which tells no limit, or a file system that does not say. */
export async function roomForArtifacts({ bucket, artifactFolder }: Pick<OrchestratorConfig, 'bucket' | 'artifactFolder'>) {
  return bucket === undefined ? availableBytes(artifactFolder) : undefined;
}
