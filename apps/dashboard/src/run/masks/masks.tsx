// Shows which heads and units are open: as a map of all layers at any recorded step, and for one layer also over time.
import { useMemo, useState } from 'preact/hooks';
import { historyService } from '../../api/client.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { LayerShape } from '../../generated/espalier/v1/common_pb.js';
import { MaskKind, type QueryMasksResponse } from '../../generated/espalier/v1/history_service_pb.js';
import { Chart } from '../../ui/charts/chart.js';
import type { Curve } from '../../ui/charts/curve.js';
import { count } from '../../ui/format.js';
import { lookOf } from '../../ui/charts/line-looks.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { Pending, TroubleNote } from '../../ui/pending.js';
import { Scroll } from '../../ui/scroll.js';
import { setQuery } from '../../ui/router.js';
import { SharedCursor } from '../../ui/charts/shared-cursor.js';
import { LayerGates } from './layer-gates.js';
import { KIND_TITLES, LAYER_NAMES, MaskMap } from './mask-map.js';
import type { TabProps } from '../tab-props.js';

const STATES = 300;
/** The most cells for the heads or units of a layer: when all layers are shown, and when one is. */
const [FEW_CELLS, MANY_CELLS] = [256, 2_048];

export function MasksTab({ run, query }: TabProps) {
  const layers = run.layers.length;
  const layer = layerOf(query.get('layer'), layers);
  const loaded = useLoaded(
    `masks ${run.runId} ${layer ?? 'all'}`,
    (signal) => {
      const asked = { runId: run.runId, maxPoints: STATES, includeChanges: true };
      return historyService.queryMasks(layer === null ? { ...asked, resolution: FEW_CELLS } : { ...asked, resolution: MANY_CELLS, layer }, {
        signal,
      });
    },
    `${run.step} ${run.rewinds}`,
  );
  const { data, trouble } = loaded;
  if (data === undefined) return <Pending loaded={loaded} />;
  if (data.steps.length === 0)
    return (
      <div class="card empty">
        <h2>No masks are recorded yet</h2>
        <p>They appear here with the first recorded state.</p>
      </div>
    );
  const last = data.steps.length - 1;
  const steps = data.steps.map(Number);
  const state = stateAt(data.steps, query.get('step'));
  const choices = { all: 'all layers', ...Object.fromEntries(Array.from({ length: layers }, (_, one) => [String(one), `layer ${one}`])) };
  return (
    <>
      <TroubleNote trouble={trouble} />
      <div class="bar">
        <LabelledSelect
          label="Show"
          value={layer === null ? 'all' : String(layer)}
          options={choices}
          changed={(value) => setQuery({ layer: value === 'all' ? '' : value })}
        />
        <label class="slide">
          State at step
          <input
            type="range"
            min={0}
            max={last}
            value={state}
            aria-valuetext={`step ${data.steps[state]}`}
            onInput={({ currentTarget: { value } }) => setQuery({ step: Number(value) === last ? '' : String(data.steps[Number(value)]) })}
          />
          <b class="num">{count(data.steps[state] ?? 0)}</b>
        </label>
        {state !== last && <button onClick={() => setQuery({ step: '' })}>Last state</button>}
        <MapLegend />
        <BlocksLeft layers={run.layers} />
        {data.downsampled && (
          <span class="soft">
            {count(data.totalPoints)} states, {data.steps.length} of them shown
          </span>
        )}
      </div>
      <div class="mask-cards">
        {layer !== null &&
          data.series
            .filter(({ kind }) => kind !== MaskKind.HIDDEN)
            .map((series) => <LayerGates key={series.kind} series={series} steps={steps} state={state} />)}
        {KIND_TITLES.map(([kind, title]) => (
          <MaskMap key={kind} title={title} series={data.series.filter((one) => one.kind === kind)} steps={steps} state={state} />
        ))}
        <OpenShares data={data} runId={run.runId} />
        <Changes data={data} state={state} />
      </div>
    </>
  );
}

function layerOf(text: string | null, layers: number): number | null {
  return text !== null && /^\d{1,5}$/.test(text) && Number(text) < layers ? Number(text) : null;
}

/** Returns the index of the last state that is not after the step; the last state of all if the address names no step. */
function stateAt(steps: readonly bigint[], text: string | null): number {
  const last = steps.length - 1;
  if (text === null || !/^\d{1,15}$/.test(text)) return last;
  return Math.max(
    0,
    steps.findLastIndex((step) => step <= BigInt(text)),
  );
}

/** Describes the blocks that are left, in runs whose gates can close whole key/value heads. The maps show only heads and units. */
function BlocksLeft({ layers }: { layers: readonly LayerShape[] }) {
  if (layers.every(({ kvHeads }) => kvHeads === undefined)) return null;
  const sum = (value: (layer: LayerShape) => number): number => layers.reduce((all, layer) => all + value(layer), 0);
  const having = (part: (layer: LayerShape) => number): number => layers.filter((layer) => part(layer) > 0).length;
  return (
    <span class="soft">
      last state: {sum(({ kvHeadsOpen = 0 }) => kvHeadsOpen)} of {sum(({ kvHeads = 0 }) => kvHeads)} key/value heads; attention in{' '}
      {having(({ headsOpen }) => headsOpen)} and MLPs in {having(({ unitsOpen }) => unitsOpen)} of {layers.length} layers
    </span>
  );
}

function MapLegend() {
  return (
    <span class="map-legend soft">
      <span class="cell open" /> open <span class="cell some" /> group, partly open <span class="cell" /> closed
    </span>
  );
}

function OpenShares({ data, runId }: { data: QueryMasksResponse; runId: string }) {
  const x = useMemo(() => data.steps.map(Number), [data]);
  const curves = useMemo<Curve[]>(
    () =>
      KIND_TITLES.flatMap(([kind, title], index) => {
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
      title="Open gates"
      yName="share that is open"
      isShare
      x={x}
      xName="step"
      curves={curves}
      cursor={cursor}
      fileName={`${runId} open gates`}
      source={`Espalier, run ${runId}`}
    />
  );
}

const SHOWN_NUMBERS = 40;

/** Lists the gates that closed or opened since the recorded state before the shown one. */
function Changes({ data, state }: { data: QueryMasksResponse; state: number }) {
  const step = data.steps[state];
  const rows = data.series.flatMap((series) =>
    series.changes
      .filter((change) => change.step === step)
      .map(({ closed, opened }) => ({ where: LAYER_NAMES[series.kind]?.(series.layer) ?? '', closed, opened })),
  );
  const list = (numbers: number[]): string =>
    numbers.length <= SHOWN_NUMBERS ? numbers.join(', ') : `${numbers.slice(0, SHOWN_NUMBERS).join(', ')} … (${numbers.length})`;
  return (
    <section class="card" aria-label="Changes">
      <header>
        <h2>Changes since the state before</h2>
        <span class="soft">
          {state === 0 ? 'this is the first state' : `from step ${count(data.steps[state - 1] ?? 0)} to step ${count(step ?? 0)}`}
        </span>
      </header>
      <Scroll label="Changes" class="changes">
        {rows.length === 0 && <p class="soft">Nothing closed or opened.</p>}
        {rows.map(({ where, closed, opened }) => (
          <p key={where} class="num">
            <b>{where}:</b> {closed.length > 0 && <>closed {list(closed)}</>}
            {closed.length > 0 && opened.length > 0 && '; '}
            {opened.length > 0 && <>opened {list(opened)}</>}
          </p>
        ))}
      </Scroll>
    </section>
  );
}
