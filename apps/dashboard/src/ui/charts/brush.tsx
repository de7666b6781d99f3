// Lets a reader mark an area of a drawing with the mouse or a finger.
import { useRef, useState } from 'preact/hooks';

export interface Area {
  x: [from: number, to: number];
  y: [from: number, to: number];
}

interface Props {
  /** The area that can be marked, in the drawing's own units. */
  area: Area;
  /** The mark has the whole width of the area: only its height counts. */
  isHeightOnly?: boolean;
  done: (area: Area) => void;
}

/** A smaller mark is a click. */
const LEAST = 4;

type Place = [x: number, y: number];

export function Brush({ area, isHeightOnly = false, done }: Props) {
  // Pointers move faster than the page is drawn again, so where the mark began is no state of the drawing.
  const from = useRef<Place | null>(null);
  const [shown, setShown] = useState<Area | null>(null);
  const placeOf = (event: PointerEvent & { currentTarget: SVGRectElement }): Place => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(event.currentTarget.getScreenCTM()!.inverse());
    const within = (value: number, [low, high]: [number, number]): number => Math.min(Math.max(value, low), high);
    return [within(x, area.x), within(y, area.y)];
  };
  const sorted = (one: number, other: number): [number, number] => [Math.min(one, other), Math.max(one, other)];
  const marked = ([x, y]: Place, [toX, toY]: Place): Area => ({ x: isHeightOnly ? area.x : sorted(x, toX), y: sorted(y, toY) });
  const end = (): Place | null => {
    const begun = from.current;
    from.current = null;
    setShown(null);
    return begun;
  };
  return (
    <>
      <rect
        class="brush"
        {...sizes(area)}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          event.currentTarget.setPointerCapture(event.pointerId);
          from.current = placeOf(event);
        }}
        onPointerMove={(event) => from.current !== null && setShown(marked(from.current, placeOf(event)))}
        onPointerUp={(event) => {
          const begun = end();
          if (begun === null) return;
          const { x, y } = marked(begun, placeOf(event));
          if (y[1] - y[0] > LEAST && x[1] - x[0] > LEAST) done({ x, y });
        }}
        onPointerCancel={end}
      />
      {shown !== null && <rect class="brushed" {...sizes(shown)} />}
    </>
  );
}

const sizes = ({ x, y }: Area) => ({ x: x[0], y: y[0], width: x[1] - x[0], height: y[1] - y[0] });
