// The addresses of the dashboard's views: the page shows them, and the server answers them with the page.

/** The views that the page's head links to, by their addresses. */
export const VIEWS = { '/': 'Runs', '/studies': 'Studies', '/compare': 'Compare', '/server': 'Server' };
export type ViewPath = keyof typeof VIEWS;
export const isViewPath = (path: string): path is ViewPath => Object.hasOwn(VIEWS, path);

/** Returns the view of one run or of one study that has this address, or undefined where the address is that of another page. */
export function viewOfOne(path: string): { of: 'run' | 'study'; id: string; tab: string } | undefined {
  const [, run, tab = '', study] = /^\/(?:runs\/([^/]+)(?:\/(\w+))?|studies\/([^/]+))$/.exec(path) ?? [];
  if (run !== undefined) return { of: 'run', id: run, tab };
  return study === undefined ? undefined : { of: 'study', id: study, tab };
}
