import type { ArtifactStore } from './artifact-store.js';
import { openFolderStore } from './folder-store.js';
import type { S3Location } from './s3/s3-location.js';

/** The place where artifacts are kept: a folder or a bucket. */
export type ArtifactStoreLocation = { folder: string } | S3Location;

export async function openArtifactStore(location: ArtifactStoreLocation): Promise<ArtifactStore> {
  if ('folder' in location) return openFolderStore(location.folder);
  const { openS3Store } = await import('./s3/s3-store.js'); // loaded here, since its client is large and most servers need no bucket
  return openS3Store(location);
}
