// The addresses of single runs and studies: the dashboard shows them, and the server answers them with the dashboard.

/** Returns the view of one run or of one study that has this address, or undefined where the address is that of another page. */
export function viewOfOne(path: string): { of: 'run' | 'study'; id: string; tab: string } | undefined {
  const [, run, tab = '', study] = /^\/(?:runs\/([^/]+)(?:\/(\w+))?|studies\/([^/]+))$/.exec(path) ?? [];
  if (run !== undefined) return { of: 'run', id: run, tab };
  return study === undefined ? undefined : { of: 'study', id: study, tab };
}
