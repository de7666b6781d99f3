// Lets a reader mark an area of a drawing with the mouse or a finger.
import { useState } from 'preact/hooks';

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

export function Brush({ area, isHeightOnly = false, done }: Props) {
  const [marked, setMarked] = useState<{ from: [number, number]; to: [number, number] } | null>(null);
  const placeOf = (event: PointerEvent & { currentTarget: SVGRectElement }): [number, number] => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(event.currentTarget.getScreenCTM()!.inverse());
    const within = (value: number, [low, high]: [number, number]): number => Math.min(Math.max(value, low), high);
    return [within(x, area.x), within(y, area.y)];
  };
  const sorted = (one: number, other: number): [number, number] => [Math.min(one, other), Math.max(one, other)];
  const shown = marked && {
    x: isHeightOnly ? area.x : sorted(marked.from[0], marked.to[0]),
    y: sorted(marked.from[1], marked.to[1]),
  };
  return (
    <>
      <rect
        class="brush"
        {...sizes(area)}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          event.currentTarget.setPointerCapture(event.pointerId);
          setMarked({ from: placeOf(event), to: placeOf(event) });
        }}
        onPointerMove={(event) => marked !== null && setMarked({ ...marked, to: placeOf(event) })}
        onPointerUp={() => {
          setMarked(null);
          if (shown !== null && shown.y[1] - shown.y[0] > LEAST && shown.x[1] - shown.x[0] > LEAST) done(shown);
        }}
        onPointerCancel={() => setMarked(null)}
      />
      {shown !== null && <rect class="brushed" {...sizes(shown)} />}
    </>
  );
}

const sizes = ({ x, y }: Area) => ({ x: x[0], y: y[0], width: x[1] - x[0], height: y[1] - y[0] });
