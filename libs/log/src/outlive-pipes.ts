/** A standard stream without a reader, or whose file has no room, must not end the process. */
export function outlivePipes(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}
