// The curves of a run, live, with its teachers above them and its settings beside or below them.
import type { ComponentChildren } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { useLoaded } from '../../api/loaded-data.js';
import type { QueryCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';
import type { Run } from '../../generated/espalier/v1/run_service_pb.js';
import { Charts, logsOf, logsText } from '../../ui/charts/charts.js';
import type { ChartMark, Smoothing as SmoothingBy } from '../../ui/charts/curve.js';
import { nameOf, stepOf } from '../../runs/columns.js';
import { clock, clockName, count, decimal, duration, ends, percent, short } from '../../ui/format.js';
import { Fold } from '../../ui/fold.js';
import { MARK_COLORS } from '../../ui/charts/plot-options.js';
import { Smoothing } from '../../ui/charts/smoothing.js';
import { smoothingOf, smoothingWords } from '../../ui/charts/smoothing-steps.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { Pending, TroubleNote } from '../../ui/pending.js';
import { setQuery } from '../../ui/router.js';
import { SharedCursor } from '../../ui/charts/shared-cursor.js';
import { Typed } from '../../ui/typed-field.js';
import { useChartChoices } from '../../ui/charts/use-chart-choices.js';
import { curveOf, loadAbandonedLines, loadCurves, loadParent, loadTail, PICTURES, type CurvesOfRun, type Range } from './curve-data.js';
import { withTail } from './live-tail.js';
import { phasesOf, useMarks } from './mark-data.js';
import { allSteps, withPaleLines, type PaleLine } from './pale-lines.js';
import { Readout } from './readout.js';
import { SettingsFold } from '../settings.js';
import type { TabProps } from '../tab-props.js';
import { useTeachers } from '../teacher-data.js';
import { sourceOf } from './source.js';
import { Timeline } from './timeline.js';
import type { OwnChart } from './own-charts.js';
import { OwnCharts } from './own-charts-card.js';
import { learnersOf, QUANTITIES } from './quantities.js';
import { isByNumber, isRising, lookOfAxis, placeOfStep, placesOf, stepAtPlace, X_AXES, xAxisOf, type XAxis } from './x-axis.js';

export function CurvesTab(props: TabProps) {
  return (
    <div class="curves-and-settings">
      <Curves {...props} />
      <SettingsFold run={props.run} />
    </div>
  );
}

function Curves({ run, query, fork }: TabProps) {
  const shown = useShownCurves(run, query);
  const { loaded, response, logs, smoothing, axis, range, showsMarks, teachers, stepMarks, steps, lastPoint, x, marks, charts } = shown;
  const { trouble } = loaded;
  const choose = useChartChoices();
  const [cursor] = useState(() => new SharedCursor());
  if (response !== undefined && x.length === 0)
    return (
      <div class="card empty">
        <h2>No step is recorded yet</h2>
        <p>Curves appear here as soon as the first steps are.</p>
      </div>
    );
  const zoom = (next: Range | null): void => {
    cursor.set(null);
    setQuery({ steps: next === null ? '' : `${next.from}-${next.to}` });
  };
  const zoomPlaces = (next: Range | null): void => {
    if (next === null) return zoom(null);
    const from = Math.max(0, Math.floor(stepAtPlace(next.from, steps, x)));
    zoom({ from, to: Math.max(Math.ceil(stepAtPlace(next.to, steps, x)), from + 1) });
  };
  return (
    <div class="curves">
      <Fold id="teachers" title="Teachers" words={`${run.teacherCount} kept; each can be forked at`}>
        <Timeline run={run} teachers={teachers} range={range} fork={fork} />
      </Fold>
      <div class="bar" role="group" aria-label="How the curves are shown">
        <button aria-pressed={showsMarks} onClick={() => choose({ marks: showsMarks ? '0' : '' })}>
          Events
        </button>
        <LabelledSelect label="X axis" value={axis} options={X_AXES} changed={(value) => choose({ x: value === 'step' ? '' : value })} />
        <Smoothing value={smoothing} changed={(value) => choose({ smooth: value === 0 ? '' : String(value) })} />
        <Steps range={range} zoom={zoom} />
      </div>
      <TroubleNote trouble={response === undefined ? undefined : trouble} />
      {response === undefined ? (
        <Pending loaded={loaded} />
      ) : (
        <Readout
          cursor={cursor}
          steps={steps}
          lastPoint={lastPoint}
          placeWords={(point) => placeWords(axis, x[point] ?? 0)}
          charts={charts}
          teachers={teachers}
          phases={phasesOf(run)}
          marks={stepMarks}
        />
      )}
      <MarkLegend marks={marks}>{response !== undefined && pointWords(axis, response.stepsPerPoint)}</MarkLegend>
      <Charts
        charts={charts.map((chart) => ({ ...chart, x, xName: axisName(axis, x, range === null ? null : steps[0]!) }))}
        xLook={lookOfAxis(axis)}
        isPath={!isRising(axis)}
        marks={marks}
        logs={logs}
        setLogs={(titles) => choose({ log: logsText(titles) })}
        smoothing={smoothing === 0 ? '' : smoothingWords(smoothing)}
        cursor={cursor}
        onZoom={zoomPlaces}
        fileName={`${nameOf(run)} ${run.runId}`}
        source={sourceOf([run])}
      />
      {response !== undefined && (
        <OwnCharts query={query} linesOf={shown.ownLines} fileName={`${nameOf(run)} ${run.runId}`} source={sourceOf([run])} />
      )}
    </div>
  );
}

/** Returns the curves that the page's address asks for, and all that stands beside them. */
function useShownCurves(run: Run, query: URLSearchParams) {
  const range = rangeOf(query);
  const smoothing = smoothingOf(query.get('smooth'));
  const axis = xAxisOf(query.get('x'));
  const showsMarks = query.get('marks') !== '0';
  const loaded = useLoaded(
    `curves ${run.runId} ${query.get('steps') ?? ''}`,
    (signal) => loadCurves(run.runId, range, signal),
    `${run.step} ${run.rewinds}`,
  );
  const response = useLiveTail(run, range, loaded.data);
  const teachers = useTeachers(run);
  const phases = phasesOf(run);
  const stepMarks = useMarks(run, teachers.assignments);
  const lines = usePaleLines(run, range, isByNumber(axis));
  const all = useMemo(() => allSteps(response?.steps.map(Number) ?? [], lines), [response, lines]);
  const { steps } = all;
  const lastPoint = all.before + (response?.steps.length ?? 0) - 1;
  const tokensPerStep = (run.settings?.batchSize ?? 0) * (run.settings?.sequenceLength ?? 0);
  const x = useMemo(() => placesOf(steps, response ?? NO_TIMES, tokensPerStep, axis), [steps, axis, isRising(axis) ? null : response]);
  const marks = useMemo<ChartMark[]>(
    () =>
      (showsMarks && isRising(axis) ? stepMarks : []).flatMap(({ step, ...mark }) => {
        const place = placeOfStep(step, steps, x);
        return place === null ? [] : [{ ...mark, x: place }];
      }),
    [showsMarks, stepMarks.map(({ step, kind }) => `${step} ${kind}`).join(), x],
  );
  const charts = useMemo(
    () =>
      response === undefined
        ? []
        : chartsOf(run, response, { over: smoothing, phases: phases.map(({ firstStep }) => firstStep) }, lines, all),
    [response, smoothing, lines, all, run.phases.length],
  );
  const ownLines = useMemo(() => (chart: OwnChart) => ownLinesOf(response ?? NO_CURVES, tokensPerStep, chart), [response, tokensPerStep]);
  const logs = logsOf(query.get('log'));
  return { loaded, response, logs, smoothing, axis, range, showsMarks, teachers, stepMarks, steps, lastPoint, x, marks, charts, ownLines };
}

/** Returns the recorded points with those of the steps that are done and not recorded yet, which are asked for whenever there are more. */
function useLiveTail(run: Run, range: Range | null, recorded: QueryCurvesResponse | undefined): QueryCurvesResponse | undefined {
  const last = recorded?.steps.at(-1) ?? -1n;
  const isLive = recorded !== undefined && stepOf(run) > last + 1n && (range === null || BigInt(range.to) > last);
  const { data: tail } = useLoaded(
    `tail ${run.runId} ${run.rewinds} ${range?.from ?? ''}-${range?.to ?? ''}`,
    (signal) => (isLive ? loadTail(run.runId, recorded, range, signal) : Promise.resolve(undefined)),
    `${last} ${isLive ? stepOf(run) : ''}`,
  );
  return useMemo(() => recorded && withTail(recorded, tail), [recorded, tail]);
}

const NO_TIMES = { seconds: [], endedAt: [], curves: [] };
const NO_CURVES = { ...NO_TIMES, steps: [] };
const NO_LINES: PaleLine[] = [];

/** @param from the first shown step; null: all steps are shown */
function axisName(axis: XAxis, x: number[], from: number | null): string {
  if (axis === 'clock' && x.length > 0) return clockName(...ends(x));
  return axis === 'time' && from !== null ? `${X_AXES[axis]!} from step ${count(from)} on` : X_AXES[axis]!;
}

function placeWords(axis: XAxis, place: number): string {
  if (axis === 'step') return '';
  if (axis === 'clock') return clock(place);
  if (axis === 'tokens') return `${short(place)} tokens`;
  if (axis === 'time') return `${duration(place)} of training`;
  return Number.isNaN(place) ? '' : `${X_AXES[axis]!} ${(lookOfAxis(axis) === 'share' ? percent : decimal)(place)}`;
}

function pointWords(axis: XAxis, stepsPerPoint: bigint): string {
  if (axis === 'parameters') return 'parameters are counted at recorded states, so each point is one of them';
  if (!isRising(axis)) return 'each line goes from step to step';
  return stepsPerPoint > 1n
    ? `each point is the mean of ${count(stepsPerPoint)} steps, and the band goes from their lowest to their highest value`
    : 'each point is one step; drag in a chart to zoom';
}

/** Loads the parent's steps before a fork, and the branches that rewinds abandoned. */
function usePaleLines(run: Run, range: Range | null, isWanted: boolean): PaleLine[] {
  const { runId, parentRunId, forkedAtStep, rewinds } = run;
  const hasParent = isWanted && range === null && parentRunId !== '' && forkedAtStep > 0n;
  const hasAbandoned = isWanted && rewinds > 0;
  const { data } = useLoaded(
    hasParent || hasAbandoned ? `pale ${runId} ${hasParent} ${range?.from ?? ''}-${range?.to ?? ''}` : '',
    async (signal) => [
      ...(hasParent ? [await loadParent(run, signal).catch(() => null)] : []),
      ...(hasAbandoned ? await loadAbandonedLines(run, range, signal) : []),
    ],
    String(rewinds),
  );
  return useMemo(() => data?.filter((line) => line !== null) ?? NO_LINES, [data]);
}

function chartsOf(
  { settings }: Pick<Run, 'settings'>,
  response: QueryCurvesResponse,
  smoothing: SmoothingBy,
  lines: PaleLine[],
  all: { steps: number[]; before: number },
) {
  return PICTURES.map(({ quantities, ...picture }) => {
    const curves = quantities.flatMap(([quantity, words, isPlanned], index) => {
      const isSmoothed = picture.isNoisy === true && smoothing.over > 0;
      const label = quantity === 'lora_learning_rate' && settings !== undefined ? `${words} ${learnersOf(settings)}` : words;
      const curve = curveOf(response, quantity, { label, index, isPlanned: isPlanned === true, smoothing: isSmoothed ? smoothing : null });
      return curve === null ? [] : [curve];
    });
    return { ...picture, curves: withPaleLines(curves, lines, quantities[0][0], all) };
  }).filter(({ curves }) => curves.length > 0);
}

/** The line of a chart that a reader added. */
function ownLinesOf(response: CurvesOfRun, tokensPerStep: number, { quantity, axis }: OwnChart) {
  const x = placesOf(response.steps.map(Number), response, tokensPerStep, axis);
  const options = { label: QUANTITIES[quantity]!.title, index: 0, isPlanned: false, smoothing: null };
  const curve = curveOf(response, quantity, options);
  return { x, xName: axisName(axis, x, null), curves: curve === null ? [] : [curve] };
}

const MARK_WORDS: Record<ChartMark['kind'], string> = {
  teacher: 'change of teacher',
  phase: 'phase',
  fork: 'fork',
  rewind: 'rewind',
  restart: 'restart',
};

function MarkLegend({ marks, children }: { marks: ChartMark[]; children: ComponentChildren }) {
  const kinds = [...new Set(marks.map(({ kind }) => kind))];
  return (
    <p class="legend marks">
      {kinds.map((kind) => (
        <span key={kind}>
          <svg class="mark" viewBox="0 0 14 14" aria-hidden="true">
            <path
              d={kind === 'teacher' ? 'M7 0v6' : 'M7 0v14'}
              stroke={`var(--${MARK_COLORS[kind]})`}
              stroke-width="2"
              stroke-dasharray={kind === 'teacher' ? '' : '4 3'}
            />
          </svg>{' '}
          {MARK_WORDS[kind]}
        </span>
      ))}
      <span>{children}</span>
    </p>
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
