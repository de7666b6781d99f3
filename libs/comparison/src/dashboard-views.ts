// The addresses of single runs, studies and saved pages: the dashboard shows them, and the server answers them with the dashboard.

export interface ViewOfOne {
  of: 'run' | 'study' | 'page';
  id: string;
  tab: string;
}

/** Returns the view of one run, study or saved page that has this address, or undefined where the address is another one. */
export function viewOfOne(path: string): ViewOfOne | undefined {
  const [, run, tab = '', study, page] = /^\/(?:runs\/([^/]+)(?:\/(\w+))?|studies\/([^/]+)|pages\/([^/]+))$/.exec(path) ?? [];
  if (run !== undefined) return { of: 'run', id: run, tab };
  if (study !== undefined) return { of: 'study', id: study, tab };
  return page === undefined ? undefined : { of: 'page', id: page, tab };
}
