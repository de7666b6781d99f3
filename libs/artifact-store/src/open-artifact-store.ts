import type { ArtifactStore } from './artifact-store.js';
import { openFolderStore } from './folder-store.js';
import type { S3Location } from './s3/s3-location.js';

/** Where artifacts are kept. */
export type ArtifactStoreLocation = { folder: string } | S3Location;

export async function openArtifactStore(location: ArtifactStoreLocation): Promise<ArtifactStore> {
  if ('folder' in location) return openFolderStore(location.folder);
  const { openS3Store } = await import('./s3/s3-store.js'); // its client is large, and most servers need none
  return openS3Store(location);
}
