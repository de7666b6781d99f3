import { isAbsolute } from 'node:path';

/** The longest path of a unix socket. sun_path has 108 bytes with the terminating zero. */
const SOCKET_PATH_BYTES_MAX = 107;

/**
 * Returns the problem with an engine's address; null: the address is well formed. @param anyPort port 0 is allowed too, for which the
 * system picks a port
 */
export function addressProblem(address: string, { anyPort }: { anyPort: boolean }): string | null {
  if (address.startsWith('unix:')) {
    const path = address.slice('unix:'.length);
    if (isAbsolute(path) && Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return null;
    return `must have an absolute socket path of at most ${SOCKET_PATH_BYTES_MAX} bytes`;
  }
  const port = Number(/^(?:\[[^\]]+\]|[^:\s]+):(\d{1,5})$/.exec(address)?.[1] ?? Number.NaN);
  if (port >= (anyPort ? 0 : 1) && port <= 65_535) return null;
  return `must be unix:/absolute/path or HOST:PORT, with a port from ${anyPort ? 0 : 1} to 65535`;
}
