// Draws the mean course of a quantity over all runs of each group, with a band for its spread. The server computes both, so it is for any
// number of runs.
import { useState } from 'preact/hooks';
import { historyService } from '../../api/client.js';
import { useChanges } from '../../api/live.js';
import { useLoaded } from '../../api/loaded-data.js';
import type { QueryMeanCurvesResponse } from '../../generated/espalier/v1/history_service_pb.js';
import { QUANTITIES, QUANTITY_TITLES } from '../../run/curves/quantities.js';
import { Chart } from '../../ui/charts/chart.js';
import { SharedCursor } from '../../ui/charts/shared-cursor.js';
import { useChartChoices } from '../../ui/charts/use-chart-choices.js';
import { count, counted } from '../../ui/format.js';
import { LabelledSelect } from '../../ui/labelled-select.js';
import { Pending, TroubleNote } from '../../ui/pending.js';
import { setQuery } from '../../ui/router.js';
import type { RunFilter } from '../run-pages.js';
import { meanLines } from './mean-lines.js';

const REFRESH_MS = 10_000;

export function MeanCurves({ filter, by, query }: { filter: RunFilter; by: string[]; query: URLSearchParams }) {
  const { text: nameContains, statuses, tags, where } = filter;
  const asked = query.get('of') ?? '';
  const quantity = Object.hasOwn(QUANTITIES, asked) ? asked : 'loss';
  const [, from, to] = /^(\d{1,15})-(\d{1,15})$/.exec(query.get('steps') ?? '') ?? [];
  const steps = from === undefined || to === undefined || Number(to) < Number(from) ? {} : { fromStep: BigInt(from), toStep: BigInt(to) };
  const key = JSON.stringify([quantity, by, from, to, nameContains, statuses, tags, where]);
  const loaded = useLoaded(`means ${key}`, (signal) =>
    historyService.queryMeanCurves({ quantity, by, ...steps, nameContains, statuses, tags, where }, { signal }),
  );
  useChanges(() => true, loaded.reload, REFRESH_MS, key);
  return (
    <div class="plots">
      <div class="bar">
        <LabelledSelect label="Mean of" value={quantity} options={QUANTITY_TITLES} changed={(of) => setQuery({ of })} />
        <span class="soft num">
          {loaded.data !== undefined && `${counted(loaded.data.runs, 'run')}, ${counted(loaded.data.groups.length, 'group')}`}
        </span>
        {from !== undefined && to !== undefined && (
          <button onClick={() => setQuery({ steps: '' })}>
            All steps, not only {count(Number(from))} to {count(Number(to))}
          </button>
        )}
      </div>
      {loaded.data === undefined ? (
        <Pending loaded={loaded} heading="The mean curves can&rsquo;t be drawn" />
      ) : (
        <Drawn data={loaded.data} {...{ quantity, by, query }} />
      )}
      <TroubleNote trouble={loaded.data === undefined ? undefined : loaded.trouble} />
      <p class="soft">
        Bands: one standard deviation over the runs. A run counts where it has steps. Group the list to see a line for each group; drag in
        the chart to zoom.
      </p>
    </div>
  );
}

function Drawn({ data, quantity, by, query }: { data: QueryMeanCurvesResponse; quantity: string; by: string[]; query: URLSearchParams }) {
  const [cursor] = useState(() => new SharedCursor());
  const choose = useChartChoices();
  const { isNoisy: _, title, ...picture } = QUANTITIES[quantity]!;
  const { x, curves } = meanLines(data.groups);
  if (curves.length === 0)
    return (
      <div class="card empty">
        <h2>Nothing to draw yet</h2>
        <p>None of these runs has recorded this quantity.</p>
      </div>
    );
  const name = `Mean of ${title.charAt(0).toLowerCase()}${title.slice(1)}`;
  return (
    <Chart
      {...picture}
      title={name}
      x={x}
      xName={data.stepsPerPoint > 1n ? `step, in points of ${count(data.stepsPerPoint)}` : 'step'}
      curves={curves}
      log={query.get('log') === name}
      setLog={(log) => choose({ log: log ? name : '' })}
      cursor={cursor}
      onZoom={(range) => {
        cursor.set(null);
        setQuery({ steps: range === null ? '' : `${Math.max(0, Math.floor(range.from))}-${Math.ceil(range.to)}` });
      }}
      fileName={name}
      source={`Espalier, ${counted(data.runs, 'run')}${by.length === 0 ? '' : ` by ${by.join(', ').replaceAll('_', ' ')}`}`}
    />
  );
}
