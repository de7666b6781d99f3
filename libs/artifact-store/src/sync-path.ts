import { closeSync, fsync, open } from 'node:fs';
import { promisify } from 'node:util';

// Uses plain descriptors: a FileHandle costs several times as much, and each segment of each run pays for it.
const openPath = promisify(open);
const syncDescriptor = promisify(fsync);

/**
 * Makes the bytes of a file durable, or the names in a folder. A file's new name survives a power cut only once its folder is synced too.
 */
export async function syncPath(path: string): Promise<void> {
  const descriptor = await openPath(path, 'r');
  try {
    await syncDescriptor(descriptor);
  } finally {
    closeSync(descriptor); // nothing was written through the descriptor, so closing it does not wait
  }
}
