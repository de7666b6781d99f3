import { useEffect, useRef, useState } from 'preact/hooks';

/** Returns the width of an element in pixels, also after it has changed; 0 before the element is drawn. */
export function useWidth<Measured extends Element = HTMLDivElement>() {
  const measured = useRef<Measured>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const { current } = measured;
    if (current === null) return undefined;
    const resized = new ResizeObserver(() => setWidth(current.getBoundingClientRect().width));
    resized.observe(current);
    return () => resized.disconnect();
  }, []);
  return { width, measured };
}

/** The widest drawing, in its own units: on a still wider screen it is drawn larger. */
const MOST_UNITS = 2_400;

/** Returns an SVG's width in its own units, so that it fills its card and its letters keep their size. */
export function useUnitsAcross(least: number, pixelsPerUnit: number) {
  const { width, measured } = useWidth<SVGSVGElement>();
  return { across: Math.round(Math.min(MOST_UNITS, Math.max(least, width / pixelsPerUnit))), measured };
}
