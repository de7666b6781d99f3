// The curves of a run, live, with its teachers above them.
import { useMemo, useState } from 'preact/hooks';
import { useLoaded } from '../api/loaded.js';
import { Chart } from '../ui/chart.js';
import { count, percent } from '../ui/format.js';
import { Smoothing, TroubleNote } from '../ui/parts.js';
import { setQuery } from '../ui/router.js';
import { Typed } from '../ui/typed.js';
import { curveOf, loadCurves, PICTURES, type Range } from './curve-data.js';
import type { TabProps } from './tab-props.js';
import { useTeachers } from './teacher-data.js';
import { Timeline } from './timeline.js';

export function CurvesTab({ run, query, fork }: TabProps) {
  const range = rangeOf(query);
  const log = query.get('log') === '1';
  const [smoothing, setSmoothing] = useState(0);
  const { data: response, trouble } = useLoaded(
    `curves ${run.runId} ${query.get('steps') ?? ''}`,
    (signal) => loadCurves(run.runId, range, signal),
    `${run.step} ${run.rewinds}`,
  );
  const teachers = useTeachers(run);
  const x = useMemo(() => response?.steps.map(Number) ?? [], [response]);
  const charts = useMemo(
    () =>
      response === undefined
        ? []
        : PICTURES.map(({ quantities, ...picture }) => ({
            ...picture,
            curves: quantities.flatMap(([quantity, label, dashed], index) => {
              const curve = curveOf(response, quantity, { label, tone: index + 1, dashed: dashed === true, smoothing });
              return curve === null ? [] : [curve];
            }),
          })).filter(({ curves }) => curves.length > 0),
    [response, smoothing],
  );
  if (response !== undefined && x.length === 0)
    return (
      <div class="card empty">
        <h2>No step is recorded yet</h2>
        <p>Curves appear here as soon as the first steps are.</p>
      </div>
    );
  const zoom = (next: Range | null): void =>
    setQuery({
      steps: next === null ? '' : `${Math.max(0, Math.floor(next.from))}-${Math.max(Math.ceil(next.to), Math.floor(next.from) + 1)}`,
    });
  return (
    <>
      <Timeline run={run} teachers={teachers} range={range} fork={fork} />
      <div class="bar" role="group" aria-label="How the curves are shown">
        <button aria-pressed={log} onClick={() => setQuery({ log: log ? '' : '1' })}>
          Log scale
        </button>
        <Smoothing value={smoothing} changed={setSmoothing} />
        <Steps range={range} zoom={zoom} />
        <span class="soft num">
          {response !== undefined &&
            (response.stepsPerPoint > 1n
              ? `each point: ${count(response.stepsPerPoint)} steps, with the band from their lowest to their highest value`
              : 'each point is one step; drag in a chart to zoom')}
        </span>
      </div>
      <TroubleNote trouble={trouble} />
      <div class="charts">
        {charts.map(({ title, unit, isShare, curves, log: mayLog }) => (
          <Chart
            key={title}
            title={title}
            {...(unit === undefined ? {} : { unit })}
            {...(isShare === true ? { words: percent } : {})}
            x={x}
            curves={curves}
            log={log && mayLog === true}
            sync={run.runId}
            onZoom={zoom}
            fileName={`${run.runId} ${title}`}
          />
        ))}
      </div>
    </>
  );
}

function Steps({ range, zoom }: { range: Range | null; zoom: (range: Range | null) => void }) {
  const changed = (part: Partial<Range>): void => {
    const next = { from: range?.from ?? 0, to: range?.to ?? Number.MAX_SAFE_INTEGER, ...part };
    if (next.to > next.from) zoom(next);
  };
  return (
    <>
      <label>
        Steps from
        <Typed type="number" min={0} size={8} value={String(range?.from ?? '')} changed={(from) => changed({ from: Number(from) })} />
      </label>
      <label>
        to
        <Typed
          type="number"
          min={1}
          size={8}
          value={range === null || range.to === Number.MAX_SAFE_INTEGER ? '' : String(range.to)}
          changed={(to) => changed({ to: to === '' ? Number.MAX_SAFE_INTEGER : Number(to) })}
        />
      </label>
      {range !== null && <button onClick={() => zoom(null)}>All steps</button>}
    </>
  );
}

function rangeOf(query: URLSearchParams): Range | null {
  const [, from, to] = /^(\d{1,15})-(\d{1,16})$/.exec(query.get('steps') ?? '') ?? [];
  return from === undefined || to === undefined || Number(to) <= Number(from) ? null : { from: Number(from), to: Number(to) };
}
