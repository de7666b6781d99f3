import { closeSync, fsync, open } from 'node:fs';
import { promisify } from 'node:util';

// Plain descriptors: a FileHandle costs several times as much, at each segment of each run.
const openPath = promisify(open);
const syncDescriptor = promisify(fsync);

/** Makes a file's bytes durable, or a folder's names. A file's new name outlasts a power cut only once its folder is synced too. */
export async function syncPath(path: string): Promise<void> {
  const descriptor = await openPath(path, 'r');
  try {
    await syncDescriptor(descriptor);
  } finally {
    closeSync(descriptor); // nothing was written through it, so this does not wait
  }
}
