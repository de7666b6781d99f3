/** A standard stream that nobody reads any more, or whose file has no room, must not end the process. */
export function outlivePipes(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}
