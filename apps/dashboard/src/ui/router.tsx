// Gives every view an address of its own: a path, and a query for the choices in the view.
import type { ComponentChildren, HTMLAttributes } from 'preact';
import { useEffect, useState } from 'preact/hooks';

export interface PageLocation {
  path: string;
  query: URLSearchParams;
}

const here = (): PageLocation => ({ path: location.pathname, query: new URLSearchParams(location.search) });
const listeners = new Set<() => void>();
addEventListener('popstate', () => {
  for (const listener of listeners) listener();
});

export function go(to: string, replace = false): void {
  if (to === location.pathname + location.search) return;
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  for (const listener of listeners) listener();
  if (!replace) scrollTo(0, 0);
}

/** Changes parts of the query. An empty value removes a part. */
export function setQuery(changes: Record<string, string>): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === '') query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  go(location.pathname + (text === '' ? '' : `?${text}`), true);
}

export function useLocation(): PageLocation {
  const [place, setPlace] = useState(here());
  useEffect(() => {
    const moved = (): void => setPlace(here());
    listeners.add(moved);
    moved();
    return () => void listeners.delete(moved);
  }, []);
  return place;
}

type Props = { to: string; children: ComponentChildren } & Omit<HTMLAttributes<HTMLAnchorElement>, 'href'> & {
    'aria-current'?: 'page' | undefined;
  };

export function Anchor({ to, children, ...rest }: Props) {
  const follow = (event: MouseEvent): void => {
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return (
    <a href={to} onClick={follow} {...rest}>
      {children}
    </a>
  );
}
