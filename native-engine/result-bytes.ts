// The bytes of a result, such as a state, which lie outside the JavaScript heap.
import { addon, mapped } from './load-addon.js';
import type { WrittenBytes } from './native.js';

/** Frees the memory of a result's bytes, which are empty afterwards. Without this call it stays until the garbage collector runs. */
export function releaseBytes(bytes: Uint8Array): void {
  mapped(() => addon().releaseBytes(bytes));
}

/**
 * Makes the digest of a result's bytes and, unless `path` is '', a new file of them, beside the event loop and the steps. Don't release the
 * bytes before it is done.
 */
export function writeBytes(bytes: Uint8Array, path: string): Promise<WrittenBytes> {
  return mapped(() => addon().writeBytes({ bytes, path }));
}
