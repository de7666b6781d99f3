// Compares any number of runs: their curves in the same charts, and their figures with the differences from the first run, which is the
// baseline.
import { LOSSES } from '../../../../../libs/comparison/src/index.js';
import { useMemo, useState } from 'preact/hooks';
import { May } from '../../api/caller.js';
import { runService } from '../../api/client.js';
import { useChanges } from '../../api/live.js';
import { useLoaded } from '../../api/loaded-data.js';
import { PageService } from '../../generated/espalier/v1/page_service_pb.js';
import { MOST_OF_PAGE, newPageAddress } from '../../pages/page-draft.js';
import { loadCurves, type Range } from '../../run/curves/curve-data.js';
import { sourceOf } from '../../run/curves/source.js';
import { ownChartsOf, quantitiesOf, type OwnChart } from '../../run/curves/own-charts.js';
import { OwnCharts } from '../../run/curves/own-charts-card.js';
import { QUANTITIES } from '../../run/curves/quantities.js';
import { isRising, lookOfAxis, quantityOf, X_AXES, xAxisOf } from '../../run/curves/x-axis.js';
import { Charts, logsOf, logsText } from '../../ui/charts/charts.js';
import type { Picture } from '../../ui/charts/picture.js';
import type { Page } from '../../ui/page.js';
import { clock, count, countTick, counted } from '../../ui/format.js';
import { Smoothing } from '../../ui/charts/smoothing.js';
import { smoothingOf, smoothingWords } from '../../ui/charts/smoothing-steps.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { Pending, TroubleNote } from '../../ui/pending.js';
import { Scroll } from '../../ui/scroll.js';
import { Anchor, setQuery } from '../../ui/router.js';
import { SharedCursor } from '../../ui/charts/shared-cursor.js';
import { useChartChoices } from '../../ui/charts/use-chart-choices.js';
import { CompareTable } from './compare-table.js';
import { memberOf, MOST_COMPARED, pointsOf, runOf, type Compared } from './compared-figures.js';
import { groupsOf, sorted, type Group } from './comparison.js';
import { axisName, overlaid, type RunCurves } from './overlaid.js';
import { MaskDifferences } from './mask-differences.js';

const SHOWN = ['loss', 'expected_sparsity', ...Object.values(LOSSES).map(({ field }) => field), 'tokens_per_second'];
const PICTURES = SHOWN.map((quantity): Picture & { quantity: string } => ({ quantity, ...QUANTITIES[quantity]! }));

export const page: Page = { name: 'Compare', place: 3, View: CompareView };

function CompareView({ query }: { query: URLSearchParams }) {
  const ids = [...new Set((query.get('runs') ?? '').split(',').filter(Boolean))].slice(0, MOST_COMPARED);
  const axis = xAxisOf(query.get('x'));
  const zoomed = axis === 'step' ? rangeOf(query.get('range')) : null;
  const range = zoomed && { from: Math.max(0, Math.floor(zoomed.from)), to: Math.ceil(zoomed.to) };
  const quantities = [
    ...new Set([...SHOWN, ...(quantityOf(axis) === undefined ? [] : [axis]), ...quantitiesOf(ownChartsOf(query.get('own')))]),
  ];
  const some = { maxPoints: pointsOf(ids.length), quantities };
  const loaded = useLoaded(
    `compare ${ids.join()}`,
    (signal) =>
      Promise.all(
        ids.map(async (runId): Promise<Compared> => {
          const [{ run }, curves] = await Promise.all([runService.getRun({ runId }, { signal }), loadCurves(runId, range, signal, some)]);
          return { run: run!, curves };
        }),
      ),
    `${range?.from ?? ''}-${range?.to ?? ''} ${quantities.join()}`,
  );
  const { data, trouble, reload } = loaded;
  useChanges(({ runId }) => ids.some((id) => runId.startsWith(id)), reload, 3_000, ids.join());
  if (ids.length === 0)
    return (
      <div class="card empty">
        <h1>Nothing to compare yet</h1>
        <p>
          Choose two or more runs in <Anchor to="/">the list</Anchor>, then Compare.
        </p>
      </div>
    );
  return (
    <>
      <div class="bar">
        <h1>Comparison</h1>
        <span class="soft num">{counted(ids.length, 'run')}</span>
        {ids.length <= MOST_OF_PAGE && (
          <May call={PageService.method.savePage}>
            <span class="actions">
              <Anchor class="button" to={newPageAddress(ids, query.get('own') ?? '')}>
                Make a page
              </Anchor>
            </span>
          </May>
        )}
      </div>
      {data === undefined ? <Pending loaded={loaded} /> : <TroubleNote trouble={trouble} />}
      {data !== undefined && <Comparison all={data} query={query} />}
    </>
  );
}

function Comparison({ all, query }: { all: Compared[]; query: URLSearchParams }) {
  const axis = xAxisOf(query.get('x'));
  const smoothing = smoothingOf(query.get('smooth'));
  const overSeeds = query.get('seeds') === 'together';
  const [figure = '', descends = ''] = (query.get('sort') ?? '').split(/ (?=desc$)/);
  const zoomed = rangeOf(query.get('range'));
  const choose = useChartChoices();
  const [cursor] = useState(() => new SharedCursor());
  const groups = useMemo(() => sorted(groupsOf(all.map(memberOf), overSeeds), figure, descends !== ''), [all, overSeeds, figure, descends]);
  const runs = useMemo(() => all.map(curvesOf), [all]);
  const charts = useMemo(
    () =>
      PICTURES.filter(({ quantity }) => quantity !== quantityOf(axis))
        .map(({ quantity, ...picture }) => ({
          ...picture,
          ...overlaid(runs, groups, quantity, axis, picture.isNoisy === true ? smoothing : 0, zoomed),
        }))
        .filter(({ curves }) => curves.length > 0)
        .map((chart) => ({ ...chart, xName: axisName(axis, chart.x) })),
    [all, groups, axis, smoothing, zoomed?.from, zoomed?.to],
  );
  const ownLines = useMemo(
    () =>
      ({ quantity, axis: over }: OwnChart) => {
        const lines = overlaid(runs, groups, quantity, over, 0, null);
        return { ...lines, xName: axisName(over, lines.x) };
      },
    [all, groups],
  );
  const [baseline] = groups;
  const masked = groups.slice(1).find(({ members: [first] }) => first.runId === query.get('masks')) ?? groups[1] ?? groups[0];
  const show = (shown: Group[]): void => setQuery({ runs: shown.flatMap(({ members }) => members.map(({ runId }) => runId)).join(',') });
  const zoom = (range: Range | null): void => {
    cursor.set(null);
    setQuery({ range: range === null ? '' : `${roundedFor(range.from, range)}-${roundedFor(range.to, range)}` });
  };
  const changeAxis = (value: string): void => {
    setQuery({ range: '' }); // a range of steps is not a range of seconds
    choose({ x: value === 'step' ? '' : value });
  };
  const placeWords = axis === 'clock' ? clock : countTick;
  return (
    <>
      <div class="bar" role="group" aria-label="How the curves are shown">
        <button aria-pressed={overSeeds} onClick={() => setQuery({ seeds: overSeeds ? '' : 'together' })}>
          Seeds together
        </button>
        <LabelledSelect label="X axis" value={axis} options={X_AXES} changed={(value) => changeAxis(value)} />
        <Smoothing value={smoothing} changed={(value) => choose({ smooth: value === 0 ? '' : String(value) })} />
        {zoomed === null ? (
          isRising(axis) && <span class="soft">{pointWords(all)}drag in a chart to zoom</span>
        ) : (
          <button onClick={() => zoom(null)}>
            Show everything, not only {placeWords(zoomed.from)} to {placeWords(zoomed.to)}
          </button>
        )}
      </div>
      <Charts
        charts={charts}
        xLook={lookOfAxis(axis)}
        isPath={!isRising(axis)}
        logs={logsOf(query.get('log'))}
        setLogs={(titles) => choose({ log: logsText(titles) })}
        smoothing={smoothing === 0 ? '' : smoothingWords(smoothing)}
        cursor={cursor}
        onZoom={zoom}
        fileName="comparison"
        source={sourceOf(all.map(({ run }) => run))}
      />
      <OwnCharts query={query} linesOf={ownLines} fileName="comparison" source={sourceOf(all.map(({ run }) => run))} />
      <section class="card below" aria-label="Runs compared">
        <Scroll label="Runs compared">
          <CompareTable
            groups={groups}
            all={all}
            sort={query.get('sort') ?? ''}
            sortBy={(sort) => setQuery({ sort })}
            first={(group) => show([group, ...groups.filter((one) => one !== group)])}
            without={(group) => show(groups.filter((one) => one !== group))}
          />
        </Scroll>
      </section>
      <div class="below">
        {baseline !== undefined && masked !== undefined && groups.length > 1 && (
          <MaskDifferences
            baseline={runOf(all, baseline.members[0].runId)}
            other={runOf(all, masked.members[0].runId)}
            others={Object.fromEntries(groups.slice(1).map(({ name, members: [first] }) => [first.runId, name]))}
            choose={(runId) => setQuery({ masks: runId })}
          />
        )}
      </div>
    </>
  );
}

/** Says that the points of long runs stand for several steps; '' where each point is one step. */
function pointWords(all: readonly Compared[]): string {
  const most = Math.max(...all.map(({ curves }) => Number(curves.stepsPerPoint)));
  return most > 1 ? `a point is the mean of up to ${count(most)} steps; ` : '';
}

const curvesOf = ({ run, curves }: Compared): RunCurves => ({
  runId: run.runId,
  tokensPerStep: (run.settings?.batchSize ?? 0) * (run.settings?.sequenceLength ?? 0),
  phases: run.phases.map(({ firstStep }) => Number(firstStep)),
  curves,
});

/** Rounds to a thousandth of the range, so that addresses stay short. */
function roundedFor(value: number, { from, to }: Range): number {
  const unit = 10 ** Math.floor(Math.log10((to - from) / 1_000));
  return Number((Math.round(value / unit) * unit).toPrecision(14));
}

function rangeOf(text: string | null): Range | null {
  const [, from, to] = /^([\d.e+]+)-([\d.e+]+)$/.exec(text ?? '') ?? [];
  return from === undefined || to === undefined || !(Number(to) > Number(from)) ? null : { from: Number(from), to: Number(to) };
}
