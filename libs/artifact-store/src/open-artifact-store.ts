import type { ArtifactStore } from './artifact-store.js';
import { openFolderStore } from './folder-store.js';

/** Where artifacts are kept. Further kinds of store become further members of this union. */
export interface ArtifactStoreLocation {
  folder: string;
}

export async function openArtifactStore(location: ArtifactStoreLocation): Promise<ArtifactStore> {
  return openFolderStore(location.folder);
}
