// A map of gates. Each layer is a row, and each cell is a head or unit, or a group of neighbours if there are too many.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { MaskKind, type MaskSeries } from '../../generated/espalier/v1/history_service_pb.js';
import { count, percent } from '../../ui/format.js';
import { color, useTheme } from '../../ui/theme.js';
import { gateHistory, gatesOf, historyWords } from './gate-history.js';

export const KIND_TITLES: [kind: MaskKind, title: string][] = [
  [MaskKind.HEADS, 'Attention heads'],
  [MaskKind.UNITS, 'Intermediate units'],
  [MaskKind.HIDDEN, 'Hidden units'],
];
export const LAYER_NAMES: Partial<Record<MaskKind, (layer: number) => string>> = {
  [MaskKind.HEADS]: (layer) => `layer ${layer}, heads`,
  [MaskKind.UNITS]: (layer) => `layer ${layer}, units`,
  [MaskKind.HIDDEN]: () => 'hidden units',
};
export const gateWord = (kind: MaskKind): string => (kind === MaskKind.HEADS ? 'head' : 'unit');
const MOST_NUMBERS = 64;

interface MaskMapProps {
  title: string;
  series: MaskSeries[];
  /** The steps of the recorded states, and the shown one among them. */
  steps: number[];
  state: number;
}

export function MaskMap({ title, series, steps, state }: MaskMapProps) {
  const [announced, setAnnounced] = useState('');
  if (series.length === 0) return null;
  const open = series.reduce((sum, one) => sum + (one.open[state] ?? 0), 0);
  const size = series.reduce((sum, one) => sum + one.size, 0);
  const { kind, groups } = series[0]!;
  const isWide = groups > 1 && groups <= MOST_NUMBERS && kind === MaskKind.HEADS;
  return (
    <section class="card" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <span class="soft num">
          {count(open)} of {count(size)} open, {percent(size === 0 ? 0 : open / size)}
        </span>
      </header>
      <div class={`in heat ${isWide ? 'wide' : ''}`}>
        {series.map((one) => (
          <Row
            key={one.layer}
            series={one}
            steps={steps}
            state={state}
            name={series.length === 1 && one.kind === MaskKind.HIDDEN ? 'all layers' : `layer ${one.layer}`}
            announce={setAnnounced}
          />
        ))}
        {isWide && <Numbers from={0} to={groups} />}
      </div>
      <p class="pointed num">{announced === '' ? 'Point at a cell: its number, and when it closed and opened.' : announced}</p>
    </section>
  );
}

/** The numbers of the heads, below their cells. */
function Numbers({ from, to }: { from: number; to: number }) {
  return (
    <>
      <span />
      <span class="numbers num soft" aria-hidden="true">
        {Array.from({ length: to - from }, (_, index) => (
          <span key={index}>{from + index}</span>
        ))}
      </span>
      <span />
    </>
  );
}

interface RowProps {
  series: MaskSeries;
  steps: number[];
  state: number;
  name: string;
  announce: (words: string) => void;
}

function Row({ series, steps, state, name, announce }: RowProps) {
  const { groups, groupOpen, open, size, kind, changes } = series;
  const history = useMemo(() => gateHistory(changes, steps), [changes]);
  const point = (share: number): void => {
    const cell = Math.min(Math.max(Math.floor(share * groups), 0), groups - 1);
    const [from, to] = gatesOf(cell, groups, size);
    const openShare = (groupOpen[state * groups + cell] ?? 0) / 255;
    const single = to - from === 1;
    const what = single ? `${gateWord(kind)} ${from}` : `${gateWord(kind)}s ${from} to ${to - 1}`;
    const now = single ? (openShare > 0 ? 'open' : 'closed') : `${percent(openShare, 0)} open`;
    const since = single
      ? historyWords(history.get(from) ?? []) || 'never changed'
      : `${count([...history.keys()].filter((gate) => gate >= from && gate < to).length)} of them changed`;
    announce(`${name}, ${what}: ${now}; ${since}`);
  };
  return (
    <>
      <span class="soft">{name}</span>
      <Cells
        shares={groupOpen.subarray(state * groups, (state + 1) * groups)}
        width={groups}
        height={1}
        label={`${name}: ${open[state] ?? 0} of ${size} open`}
        point={(x) => point(x)}
        leave={() => announce('')}
      />
      <span class="num right">
        {count(open[state] ?? 0)} <span class="soft">/ {count(size)}</span>
      </span>
    </>
  );
}

interface CellsProps {
  /** The open shares from 0 to 255, row by row. */
  shares: Uint8Array;
  width: number;
  height: number;
  label: string;
  class?: string;
  /** Called with the place that is pointed at, as shares of width and height. */
  point: (x: number, y: number) => void;
  leave: () => void;
}

/** Draws one pixel for each cell. The larger the open share, the darker the pixel. */
export function Cells({ shares, width, height, label, class: more = '', point, leave }: CellsProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (context == null || width === 0) return;
    const [closed, opened] = [color('sunken'), color('accent')];
    context.globalAlpha = 1;
    context.fillStyle = closed;
    context.fillRect(0, 0, width, height);
    context.fillStyle = opened;
    shares.forEach((share, index) => {
      if (share === 0) return;
      context.globalAlpha = share / 255;
      context.fillRect(index % width, Math.floor(index / width), 1, 1);
    });
  }, [shares, width, height, theme]);
  const move = (event: PointerEvent & { currentTarget: Element }): void => {
    const box = event.currentTarget.getBoundingClientRect();
    point((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  return (
    <canvas
      ref={canvas}
      class={more}
      width={Math.max(width, 1)}
      height={Math.max(height, 1)}
      role="img"
      aria-label={label}
      onPointerMove={move}
      onPointerDown={move}
      onPointerLeave={leave}
    />
  );
}
