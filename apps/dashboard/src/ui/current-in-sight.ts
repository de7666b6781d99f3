import { useEffect, useRef } from 'preact/hooks';

/** A row of links may be wider than a telephone: it is scrolled so that the link of the view that is shown stands in it. */
export function useCurrentInSight(shown: string) {
  const row = useRef<HTMLElement>(null);
  useEffect(() => {
    const current = row.current?.querySelector<HTMLElement>('[aria-current]');
    if (row.current === null || current === null || current === undefined) return;
    const { left, width } = row.current.getBoundingClientRect();
    const link = current.getBoundingClientRect();
    row.current.scrollLeft += link.left + link.width / 2 - (left + width / 2);
  }, [shown]);
  return row;
}
