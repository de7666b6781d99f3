/** Keeps the process alive when standard output or standard error has no reader, or its file has no room. */
export function outlivePipes(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}
