// Which heads and units are open: a map by layer, at any recorded step.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { historyService } from '../api/client.js';
import { useLoaded } from '../api/loaded.js';
import { MaskKind, type MaskSeries, type QueryMasksResponse } from '../generated/espalier/v1/history_service_pb.js';
import { Chart } from '../ui/chart.js';
import type { Curve } from '../ui/curve.js';
import { lookOf } from '../ui/looks.js';
import { SharedCursor } from '../ui/shared-cursor.js';
import { count, percent } from '../ui/format.js';
import { Pending, Scroll, TroubleNote } from '../ui/parts.js';
import { color, useTheme } from '../ui/theme.js';
import type { TabProps } from './tab-props.js';

const STATES = 300;
const CELLS = 256;
const KINDS: [kind: MaskKind, title: string][] = [
  [MaskKind.HEADS, 'Attention heads'],
  [MaskKind.UNITS, 'Intermediate units'],
  [MaskKind.HIDDEN, 'Hidden units'],
];

export function MasksTab({ run }: TabProps) {
  const loaded = useLoaded(
    `masks ${run.runId}`,
    (signal) => historyService.queryMasks({ runId: run.runId, maxPoints: STATES, resolution: CELLS, includeChanges: true }, { signal }),
    `${run.step} ${run.rewinds}`,
  );
  const [chosen, setChosen] = useState<number | null>(null);
  const { data, trouble } = loaded;
  if (data === undefined) return <Pending loaded={loaded} />;
  if (data.steps.length === 0)
    return (
      <div class="card empty">
        <h2>No masks are recorded yet</h2>
        <p>They appear here with the first recorded state.</p>
      </div>
    );
  const state = Math.min(chosen ?? data.steps.length - 1, data.steps.length - 1);
  return (
    <>
      <TroubleNote trouble={trouble} />
      <div class="bar">
        <label class="slide">
          State at step
          <input
            type="range"
            min={0}
            max={data.steps.length - 1}
            value={state}
            aria-valuetext={`step ${data.steps[state]!}`}
            onInput={({ currentTarget }) =>
              setChosen(Number(currentTarget.value) === data.steps.length - 1 ? null : Number(currentTarget.value))
            }
          />
          <b class="num">{count(data.steps[state]!)}</b>
        </label>
        {chosen !== null && <button onClick={() => setChosen(null)}>Last state</button>}
        {data.downsampled && (
          <span class="soft">
            {count(data.totalPoints)} states, {data.steps.length} of them shown
          </span>
        )}
        {data.teachersOnlyBefore > 0n && (
          <span class="soft">before step {count(data.teachersOnlyBefore)} only teachers' masks are known</span>
        )}
      </div>
      <div class="charts wide">
        {KINDS.map(([kind, title]) => (
          <HeatMap key={kind} title={title} series={data.series.filter((one) => one.kind === kind)} state={state} />
        ))}
        <OpenShares data={data} runId={run.runId} />
        <Changes data={data} state={state} />
      </div>
    </>
  );
}

function HeatMap({ title, series, state }: { title: string; series: MaskSeries[]; state: number }) {
  if (series.length === 0) return null;
  const open = series.reduce((sum, one) => sum + (one.open[state] ?? 0), 0);
  const size = series.reduce((sum, one) => sum + one.size, 0);
  return (
    <section class="card" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <span class="soft num">
          {count(open)} of {count(size)} open, {percent(size === 0 ? 0 : open / size)}
        </span>
      </header>
      <div class="in heat">
        {series.map((one) => (
          <Row
            key={one.layer}
            series={one}
            state={state}
            name={series.length === 1 && one.kind === MaskKind.HIDDEN ? 'all layers' : `layer ${one.layer}`}
          />
        ))}
      </div>
    </section>
  );
}

/** One pixel a head or unit, or a group of neighbours: the more of it is open, the darker. */
function Row({ series, state, name }: { series: MaskSeries; state: number; name: string }) {
  const { groups, groupOpen, open, size } = series;
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (context == null || groups === 0) return;
    context.clearRect(0, 0, groups, 1);
    const [closed, opened] = [color('sunken'), color('accent')];
    for (let group = 0; group < groups; group += 1) {
      const share = (groupOpen[state * groups + group] ?? 0) / 255;
      context.globalAlpha = 1;
      context.fillStyle = closed;
      context.fillRect(group, 0, 1, 1);
      context.globalAlpha = share;
      context.fillStyle = opened;
      context.fillRect(group, 0, 1, 1);
    }
  }, [groupOpen, state, groups, theme]);
  return (
    <>
      <span class="soft">{name}</span>
      <canvas ref={canvas} width={Math.max(groups, 1)} height={1} role="img" aria-label={`${name}: ${open[state] ?? 0} of ${size} open`} />
      <span class="num right">
        {count(open[state] ?? 0)} <span class="soft">/ {count(size)}</span>
      </span>
    </>
  );
}

function OpenShares({ data, runId }: { data: QueryMasksResponse; runId: string }) {
  const x = useMemo(() => data.steps.map(Number), [data]);
  const curves = useMemo<Curve[]>(
    () =>
      KINDS.flatMap(([kind, title], index) => {
        const series = data.series.filter((one) => one.kind === kind);
        const size = series.reduce((sum, one) => sum + one.size, 0);
        const values = data.steps.map((_, at) => series.reduce((sum, one) => sum + (one.open[at] ?? 0), 0) / size);
        return size === 0 ? [] : [{ label: title, ...lookOf(index), values }];
      }),
    [data],
  );
  const [cursor] = useState(() => new SharedCursor());
  return (
    <Chart
      title="Open shares"
      yName="open share"
      isShare
      x={x}
      xName="step"
      curves={curves}
      cursor={cursor}
      fileName={`${runId} open shares`}
    />
  );
}

const SHOWN_NUMBERS = 40;
const KIND_WORDS: Record<number, string> = { [MaskKind.HEADS]: 'heads', [MaskKind.UNITS]: 'units', [MaskKind.HIDDEN]: 'hidden units' };

/** The gates that closed and opened since the state shown before this one. */
function Changes({ data, state }: { data: QueryMasksResponse; state: number }) {
  const step = data.steps[state];
  const rows = data.series.flatMap(({ kind, layer, changes }) =>
    changes
      .filter((change) => change.step === step)
      .map(({ closed, opened }) => ({
        where: kind === MaskKind.HIDDEN ? 'hidden' : `layer ${layer}`,
        what: KIND_WORDS[kind] ?? '',
        closed,
        opened,
      })),
  );
  const list = (numbers: number[]): string =>
    numbers.length <= SHOWN_NUMBERS ? numbers.join(', ') : `${numbers.slice(0, SHOWN_NUMBERS).join(', ')} … (${numbers.length})`;
  return (
    <section class="card" aria-label="Changes">
      <header>
        <h2>Since the state before</h2>
        <span class="soft">{state === 0 ? 'this is the first one' : `step ${count(data.steps[state - 1]!)} to ${count(step!)}`}</span>
      </header>
      <Scroll label="Changes" class="changes">
        {rows.length === 0 && <p class="soft">Nothing closed or opened.</p>}
        {rows.map(({ where, what, closed, opened }) => (
          <p key={`${where} ${what}`} class="num">
            <b>
              {where}, {what}:
            </b>{' '}
            {closed.length > 0 && <>closed {list(closed)}</>}
            {closed.length > 0 && opened.length > 0 && '; '}
            {opened.length > 0 && <>opened {list(opened)}</>}
          </p>
        ))}
      </Scroll>
    </section>
  );
}
