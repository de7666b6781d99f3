import type { ArtifactStore } from './artifact-store.js';
import { openFolderStore } from './folder-store.js';

/** Where artifacts are kept. Further kinds of store become further members of this union. */
export interface ArtifactStoreLocation {
  folder: string;
  /** Nobody else writes into it: what a crash left half-written goes at once. */
  isOurs?: boolean;
}

export async function openArtifactStore(location: ArtifactStoreLocation): Promise<ArtifactStore> {
  return openFolderStore(location.folder, location.isOurs);
}
