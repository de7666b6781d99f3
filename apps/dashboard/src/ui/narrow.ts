import { useEffect, useState } from 'preact/hooks';

/** The width up to which the style sheets, too, show a page as on a telephone. */
const narrow = matchMedia('(max-width: 720px)');

/** Tells whether the page is as narrow as a telephone; the component is drawn again when that changes. */
export function useNarrow(): boolean {
  const [is, setIs] = useState(narrow.matches);
  useEffect(() => {
    const changed = (): void => setIs(narrow.matches);
    narrow.addEventListener('change', changed);
    return () => narrow.removeEventListener('change', changed);
  }, []);
  return is;
}
